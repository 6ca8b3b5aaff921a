"""Devices to lend: a card whose memory a test sets, and the book of a yard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from corral.slots.device_use import DeviceUse, Program
from corral.tasks.board import Board
from corral.tasks.handover import Handover
from corral.tasks.holding import GRACE, StoredHoldBook
from corral.tasks.store.pool import Pool
from corral.units import Bytes
from corral.work import HoldEnd, HoldTerms, Reporter, Work

GIB = 2**30


@dataclass
class Card:
    """Stands for one GPU of 24 GiB as its driver reports it; a test changes what it shows."""

    use: DeviceUse

    async def look(self, device: str) -> DeviceUse:
        del device
        return self.use


def a_card(used: int | None = 0, *programs: Program) -> Card:
    """Return a card of which so many bytes are used."""
    return Card(DeviceUse(total=Bytes(24 * GIB), used=None if used is None else Bytes(used), programs=programs))


class Ledger:
    """The books of one test: each server of it, the one after a crash too, has its own on the same database."""

    def __init__(self, pool: Pool, board: Board, card: Card | None = None) -> None:
        self._pool = pool
        self._board = board
        self.card = card or a_card()

    def make_book(
        self, *, clock: Callable[[], float] = time.time, wait_s: float = 5.0, grace: timedelta = GRACE
    ) -> StoredHoldBook:
        """Make the book of a server that starts."""
        handover = Handover(self.card.look, lambda _: self.card.use.total, wait_s=wait_s, look_every_s=0.02)
        return StoredHoldBook(
            self._pool, handover, leads=lambda: self._board.leading, clock=clock, look_every_s=0.05, grace=grace
        )


class LoneBook:
    """A book for one engine alone: a hold ends at once, and one with an end that was asked for never does."""

    def __init__(self) -> None:
        self._endless: set[int] = set()

    async def hand_over(self, work: Work, terms: HoldTerms, report: Reporter) -> None:
        report.progress(None, "handed over")
        self._endless -= {work.task}
        if terms.for_s is not None:
            self._endless.add(work.task)

    async def wait_for_end(self, task: int) -> HoldEnd:
        if task in self._endless:
            await asyncio.Event().wait()
        return HoldEnd.RELEASED

    def is_lent(self, task: int) -> bool:
        del task
        return False  # what never ends is stopped from outside

    def ask_back(self, task: int, because: HoldEnd) -> None:
        del because
        self._endless -= {task}
