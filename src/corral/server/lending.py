"""Connects the book of holds with the drivers of this machine's GPUs."""

from __future__ import annotations

import time

from corral.tasks.board import Board
from corral.tasks.handover import Handover, LookAtDevice
from corral.tasks.holding import StoredHoldBook
from corral.tasks.store.pool import Pool
from corral.units import Bytes


def make_hold_book(pool: Pool, board: Board, look: LookAtDevice) -> StoredHoldBook:
    """Make the book of holds of this server; `board` shows its devices, and `look` looks at one again."""

    def find_capacity(device: str) -> Bytes | None:
        return next((place.device.capacity for place in board.places if place.device.visible == device), None)

    return StoredHoldBook(
        pool, Handover(look, find_capacity), leads=lambda: board.leading, clock=time.time
    )  # not the monotonic clock: it stops while the machine sleeps
