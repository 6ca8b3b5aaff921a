"""Takes the inventory of this machine."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path

import psutil

from corral.telemetry.inventory import system
from corral.telemetry.inventory.board import read_board
from corral.telemetry.inventory.disks import find_disks
from corral.telemetry.inventory.values import BoardTables, Inventory
from corral.telemetry.machine import cpu_model, display_vendors
from corral.telemetry.nvml import NvmlReading, find_gpus
from corral.units import Bytes


def take_inventory(*, root: Path = Path("/"), nvml: NvmlReading | None = None) -> Inventory:
    """Look at this machine; never raises for what is missing. Blocks for up to a second.

    `root` is where /proc, /sys and /etc are found; `nvml` takes the place of asking the driver.
    """
    board = read_board(root)
    os_id, os_version = system.os_release(root)
    address, addresses = system.addresses(root)
    installed = board.memory if board else None
    return Inventory(
        hostname=socket.gethostname(),
        address=address,
        addresses=addresses,
        os=os_id,
        os_version=os_version,
        kernel=platform.release(),
        cpu_model=cpu_model(root),
        cpu_cores=psutil.cpu_count(logical=False),
        cpu_threads=os.cpu_count() or 1,
        memory=installed or Bytes(psutil.virtual_memory().total),
        memory_is_installed=installed is not None,
        disks=find_disks(root),
        board=board or BoardTables(),
        board_is_readable=board is not None,
        nvml=nvml or find_gpus(),
        display_vendors=display_vendors(root),
    )
