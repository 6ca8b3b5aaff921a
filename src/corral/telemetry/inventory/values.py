"""A machine's parts, as they were found."""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Disk
from corral.telemetry.nvml import NvmlReading
from corral.units import Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardTables:
    """What the maker of the board wrote into its tables (SMBIOS); on most desktop boards little of it is true."""

    memory: Bytes | None = None
    """Sum of the installed modules."""
    psu_w: int | None = None
    """What the power supply gives; None also when there are several, which may stand in for each other."""
    psu_name: str | None = None
    """Maker and model of the power supply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """One machine; what cannot be found out is None."""

    hostname: str
    address: str | None
    """Of the interface that leads to other networks."""
    addresses: tuple[str, ...]
    """All of its own, without loopback and link-local ones."""
    os: str | None
    """The `ID` of /etc/os-release: `nixos`, `ubuntu`."""
    os_version: str | None
    kernel: str
    cpu_model: str | None
    cpu_cores: int | None
    """Physical cores."""
    cpu_threads: int
    memory: Bytes
    """What is installed, if the board says; else what the kernel manages, a few per cent less."""
    memory_is_installed: bool
    disks: tuple[Disk, ...]
    board: BoardTables
    board_is_readable: bool
    """Whether the board's tables could be read: the kernel lets only root do so."""
    nvml: NvmlReading
    display_vendors: tuple[str, ...] | None
    """PCI vendor ids of display controllers (`0x10de` is NVIDIA); None where there is no PCI bus to look at."""
