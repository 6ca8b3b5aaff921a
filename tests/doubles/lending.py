"""Devices to lend: a card whose memory a test sets, and the book of a yard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

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

    total: Bytes | None = field(default=Bytes(24 * GIB))
    used: Bytes | None = field(default=Bytes(0))
    holders: str = ""

    async def look(self, device: str) -> Card:
        del device
        return self


class Ledger:
    """The books of one test: each server of it, the one after a crash too, has its own on the same database."""

    def __init__(self, pool: Pool, board: Board, card: Card | None = None) -> None:
        self._pool = pool
        self._board = board
        self.card = card or Card()

    def make_book(
        self, *, clock: Callable[[], float] = time.time, wait_s: float = 5.0, grace: timedelta = GRACE
    ) -> StoredHoldBook:
        """Make the book of a server that starts."""
        handover = Handover(self.card.look, lambda _: self.card.total, wait_s=wait_s, look_every_s=0.02)
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
