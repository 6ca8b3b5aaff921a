"""Everything that is true now and not stored: progress and previews of running attempts, and the slots.

After a restart it fills again as work goes on. The dispatcher writes, everybody can read. Feeds are bounded; a reader
that is too slow loses the oldest updates, never the newest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from corral.slots.values import PlaceView
from corral.work import Json, SlotId

FEED_SIZE = 256
"""Updates a reader can be behind; at ten per second and slot, that is seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an attempt is."""

    task: int
    batch: int | None
    attempt: UUID
    slot: SlotId
    fraction: float | None
    """0 to 1; None where the engine cannot know."""
    note: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """An intermediate result of an attempt."""

    task: int
    batch: int | None
    attempt: UUID
    media_type: str
    data: bytes
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """An event of an attempt, in the words of the engine's program."""

    task: int
    batch: int | None
    attempt: UUID
    event: str
    data: Mapping[str, Json]
    at: datetime


Update = Progress | Preview | Relayed


class Feed:
    """One reader's bounded queue of updates."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Update] = asyncio.Queue(FEED_SIZE)

    def offer(self, update: Update) -> None:
        """Add an update; the oldest gives way when the reader is too slow."""
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(update)

    async def receive(self) -> Update:
        """Wait for the next update."""
        return await self._queue.get()

    async def __aiter__(self) -> AsyncIterator[Update]:
        while True:
            yield await self.receive()


class Board:
    """The live view of one dispatcher."""

    def __init__(self) -> None:
        self._progress: dict[int, Progress] = {}
        self._relayed: dict[int, dict[str, Relayed]] = {}
        self._feeds: set[Feed] = set()
        self._show: Callable[[], tuple[PlaceView, ...]] = tuple
        self._epoch: int | None = None
        self._changed = asyncio.Event()

    @property
    def places(self) -> tuple[PlaceView, ...]:
        """Devices and slots as they are now, by what is occupied one at a time; none without a dispatcher."""
        return self._show()

    @property
    def leading(self) -> bool:
        """Whether this server's dispatcher acts, rather than standing by."""
        return self._epoch is not None

    @property
    def epoch(self) -> int | None:
        """The epoch of this server's lead, which guards what a leader writes; None while it stands by."""
        return self._epoch

    @property
    def progress(self) -> Mapping[int, Progress]:
        """The newest progress of each running task, by task id."""
        return self._progress

    def find_relayed(self, task: int) -> Mapping[str, Relayed]:
        """Return the newest events of a running task in the words of its engine's program, by event."""
        return self._relayed.get(task, {})

    @contextmanager
    def open_feed(self) -> Generator[Feed, None, None]:
        """Open a feed of updates for as long as the context lasts."""
        feed = Feed()
        self._feeds.add(feed)
        try:
            yield feed
        finally:
            self._feeds.discard(feed)

    async def wait_for_change(self) -> None:
        """Wait until the view of the slots, or whether the dispatcher leads, is written the next time."""
        await self._changed.wait()

    def show_slots(self, show: Callable[[], tuple[PlaceView, ...]]) -> None:
        """Take over where slots are looked up, and wake those that wait for a change (the dispatcher only)."""
        self._show = show
        self._wake()

    def set_leading(self, epoch: int | None) -> None:
        """Set under which epoch this dispatcher acts; None when it stands by (the dispatcher only)."""
        self._epoch = epoch
        self._wake()

    def publish(self, update: Update) -> None:
        """Show an update to every reader (the dispatcher only)."""
        if isinstance(update, Progress):
            self._progress[update.task] = update
        elif isinstance(update, Relayed):
            self._relayed.setdefault(update.task, {})[update.event] = update
        for feed in self._feeds:
            feed.offer(update)

    def forget(self, task: int) -> None:
        """Drop progress and events of a task that runs no longer (the dispatcher only)."""
        self._progress.pop(task, None)
        self._relayed.pop(task, None)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
