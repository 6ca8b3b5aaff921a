"""Connects the book of holds with the drivers of this machine's GPUs."""

from __future__ import annotations

import asyncio
import time

from corral.slots.device_use import DeviceUse
from corral.tasks.board import Board
from corral.tasks.handover import Handover
from corral.tasks.holding import StoredHoldBook
from corral.tasks.store.pool import Pool
from corral.telemetry.kernel_gpus import find_all_gpus
from corral.units import Bytes


def make_hold_book(pool: Pool, board: Board) -> StoredHoldBook:
    """Make the book of holds of this server; `board` shows its devices."""

    def find_capacity(device: str) -> Bytes | None:
        return next((place.device.capacity for place in board.places if place.device.visible == device), None)

    return StoredHoldBook(
        pool, Handover(_look, find_capacity), leads=lambda: board.leading, clock=time.time
    )  # not the monotonic clock: it stops while the machine sleeps


async def _look(device: str) -> DeviceUse | None:
    gpus = await asyncio.to_thread(find_all_gpus)
    gpu = next((gpu for gpu in gpus if gpu.identity == device), None)
    return None if gpu is None else DeviceUse(total=gpu.memory_total, used=gpu.memory_used)
