"""Server-sent events: the story, which can be resumed, and what happens right now, which cannot.

The response runs its parts side by side and ends all of them when the client goes away, the server stops, or the
database is lost; a client then comes back with the last id that it saw.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import ClassVar, assert_never

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from corral.errors import CorralError, Kind
from corral.server.api.answers import describe_event
from corral.server.api.changes import Changes, Subject
from corral.server.api.slot_changes import SlotChanges
from corral.tasks.board import Board, Preview, Progress, Relayed
from corral.tasks.store.pool import CONNECTION_LOST
from corral.tasks.values import StoryEvent
from corral.work import Json

MAX_STREAMS = 64
"""Of one server; an owner can have some of them (`ServerRules.streams_per_owner`)."""
HEARTBEAT_S = 15.0
_RETRY_MS = 2000
"""How long a browser waits before it comes back."""
_log = structlog.get_logger()

Write = Callable[[str], Awaitable[None]]

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class TooManyStreamsError(CorralError):
    """The server, or one owner, has as many open streams as it can have."""

    code: ClassVar[str] = "events.too_many_streams"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


@dataclass(slots=True)
class OpenStreams:
    """Counts the streams of one server, in all and by owner."""

    limit: int = MAX_STREAMS
    _owners: Counter[str] = field(default_factory=Counter[str])

    @property
    def count(self) -> int:
        """How many are open."""
        return self._owners.total()

    def enter(self, owner: str, *, most: int) -> None:
        """Take a place for an owner, who can have `most`. Raises: TooManyStreamsError."""
        self.refuse_when_full(owner, most=most)
        self._owners[owner] += 1

    def refuse_when_full(self, owner: str, *, most: int) -> None:
        """Return when there is a place for the owner. Raises: TooManyStreamsError."""
        if self.count >= self.limit:
            raise TooManyStreamsError(f"{self.limit} streams of events are open", hint="close some, or come back later")
        if self._owners[owner] >= most:
            raise TooManyStreamsError(
                f"{owner!r} has {most} streams of events open",
                hint="close some, or raise `server.limits.perOwner.streams` in the cluster file",
            )

    def leave(self, owner: str) -> None:
        """Give the place of an owner back."""
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner]


async def _allow() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The sources of a stream."""

    changes: Changes
    board: Board
    owner: str = ""
    """Whose stream it is."""
    most_of_owner: int = MAX_STREAMS
    streams: OpenStreams = field(default_factory=OpenStreams)
    heartbeat_s: float = HEARTBEAT_S
    slots: SlotChanges | None = None
    """None leaves devices, slots and guests out of the stream."""
    is_allowed: Callable[[], Awaitable[bool]] = _allow
    """Asked with each heartbeat: a stream ends when its token is revoked."""


class EventStream(Response):
    """An open answer of server-sent events; takes a place among the server's streams until it ends."""

    media_type = "text/event-stream"

    def __init__(self, subject: Subject, sources: Sources, *, after: int) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._subject = subject
        self._after = after
        self._sources = sources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream."""
        sending = asyncio.Lock()

        async def write(text: str) -> None:
            async with sending:
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

        self._sources.streams.enter(self._sources.owner, most=self._sources.most_of_owner)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await write(f"retry: {_RETRY_MS}\n\n" + self._describe_begin())
            async with asyncio.TaskGroup() as group:
                senders = (
                    self._send_story(write),
                    self._send_updates(write),
                    self._send_slots(write),
                    self._beat(write),
                    _wait_for_end(receive),
                )
                parts = [group.create_task(part) for part in senders]
                await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                for part in parts:
                    part.cancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._sources.streams.leave(self._sources.owner)

    def _describe_begin(self) -> str:
        """Give a reader that has not seen a line yet the id from which it goes on when it comes back."""
        return "" if self._sources.slots is None else f"id: {self._after}\nevent: begun\ndata: {{}}\n\n"

    async def _send_story(self, write: Write) -> None:
        """Send every line once, in order, until the server stops or the database is lost."""
        try:
            async with aclosing(self._sources.changes.follow(self._after, self._subject)) as changes:
                async for lines in changes:
                    await write("".join(_write_line(line) for line in lines))
        except CONNECTION_LOST as error:
            _log.info("stream_ended", reason=type(error).__name__)

    async def _send_updates(self, write: Write) -> None:
        with self._sources.board.open_feed() as feed:
            async for update in feed:
                if not isinstance(update, Relayed) and self._subject.concerns(update):
                    await write(_write_live(update))

    async def _send_slots(self, write: Write) -> None:
        """Send what changes of devices, slots and guests, for ever."""
        if self._sources.slots is None:
            await asyncio.Event().wait()
            return
        async with aclosing(self._sources.slots.follow()) as changes:
            async for change in changes:
                await write(f"event: slots\ndata: {change.model_dump_json()}\n\n")

    async def _beat(self, write: Write) -> None:
        while True:
            await asyncio.sleep(self._sources.heartbeat_s)
            if not await self._is_allowed():
                return
            await write(": heartbeat\n\n")

    async def _is_allowed(self) -> bool:
        try:
            return await self._sources.is_allowed()
        except CONNECTION_LOST:  # nothing is known; the story ends the stream when the database is away for long
            return True


async def _wait_for_end(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _write_line(event: StoryEvent) -> str:
    return f"id: {event.id}\nevent: {event.kind}\ndata: {describe_event(event).model_dump_json()}\n\n"


def _write_live(update: Progress | Preview) -> str:
    match update:
        case Progress():
            return _describe_event(
                "progress", {"task": update.task, "batch": update.batch, **_describe_progress(update)}
            )
        case Preview():
            encoded = base64.b64encode(update.data).decode()
            facts = {"task": update.task, "media_type": update.media_type, "data_base64": encoded}
            return _describe_event("preview", facts)
        case _:
            assert_never(update)


def _describe_progress(update: Progress) -> dict[str, Json]:
    at = update.at.isoformat()
    return {"slot": update.slot, "fraction": update.fraction, "note": update.note, "at": at}


def _describe_event(kind: str, data: Mapping[str, Json]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
