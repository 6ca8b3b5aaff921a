"""A batch, followed from outside: the event stream says that something changed, and a read says how it is now.

Whenever the stream opens, the whole batch is read once, so nothing that happened before is missed. While there is no
stream (it broke, or the server has too many), the batch is read every second instead. A server that does not answer is
waited for, since its database can be away, or it can be starting again; after a while the run gives up and says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import ClassVar

from corral.client.api import Api, Event
from corral.client.progress import BatchProgress, TaskView, to_slot_views, to_task_progress, to_task_view
from corral.client.remote_errors import RemoteError
from corral.client.requests import PAGE
from corral.errors import CorralError, Kind
from corral.work import Json

POLL_S = 1.0
"""Between two reads while there is no event stream, and between two looks at the slots."""
PATIENCE_S = 120.0
"""How long the server can be away; its own patience with its database is shorter."""
_HELD_S = 30
"""How long the server holds back its answer to a client that waits for an end."""
_FEW = 8
"""Up to so many changed tasks are read one by one; more are read with their batch."""


class ServerLostError(CorralError):
    """The server was away for too long."""

    code: ClassVar[str] = "run.server_lost"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class Follower:
    """Keeps a `BatchProgress` up to date until every task of the batch has ended."""

    def __init__(
        self, api: Api, batch: int, batch_progress: BatchProgress, on_ended: Callable[[TaskView], None]
    ) -> None:
        """Follow `batch`; `on_ended` is called once for each task that ends, and must not block."""
        self._api = api
        self._batch = batch
        self._batch_progress = batch_progress
        self._on_ended = on_ended
        self._changed: set[int] = set()
        self._wake = asyncio.Event()
        self._done = asyncio.Event()
        self._answered_at = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Return when every task has ended. Raises: ServerLostError, RemoteError that does not pass."""
        try:
            async with asyncio.TaskGroup() as group:
                works = (self._listen(), self._read_changed(), self._look_at_slots())
                helpers = [group.create_task(work) for work in works]
                await self._done.wait()
                for helper in helpers:
                    helper.cancel()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    async def _listen(self) -> None:
        """Hold the event stream open; while it cannot be, read the batch now and then."""
        while True:
            try:
                async with self._api.open_events({"batch": self._batch}) as events:
                    await self._read_batch()
                    self._batch_progress.note = ""
                    async for event in events:
                        self._take_event(event)
                self._batch_progress.note = "the event stream ended; connecting again"
            except RemoteError as error:
                self._raise_if_lasting(error)
                await self._try(self._read_batch)
            await asyncio.sleep(POLL_S)

    async def _read_changed(self) -> None:
        """Read the tasks that events spoke of; what changes meanwhile is read in the next round."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed, set()
            if len(changed) > _FEW:
                await self._try(self._read_batch)
                continue
            for id in sorted(changed):
                await self._try(partial(self._read_task, id))

    async def _look_at_slots(self) -> None:
        while True:
            await self._try(self._read_slots)
            await asyncio.sleep(POLL_S)

    def _take_event(self, event: Event) -> None:
        self._note_answer()
        if event.kind == "progress":
            self._batch_progress.show_progress(to_task_progress(event.data))
        elif event.id is not None and isinstance(task := event.data.get("task"), int):
            self._changed.add(task)
            self._wake.set()

    async def _read_batch(self) -> None:
        items = await self._api.read_list("/corral/v1/tasks", [("batch", self._batch), ("order", "oldest")])
        self._take(items)

    async def _read_task(self, id: int) -> None:
        self._take([await self._api.get(f"/corral/v1/tasks/{id}")])

    async def _read_slots(self) -> None:
        answer = await self._api.get("/corral/v1/slots")
        self._note_answer()
        self._batch_progress.show_slots(to_slot_views(answer))
        for item in answer["items"]:
            if item.get("progress") and item.get("running"):
                self._batch_progress.show_progress(
                    to_task_progress({"task": item["running"]["task"], **item["progress"]})
                )

    def _take(self, items: list[Json]) -> None:
        self._note_answer()
        for item in items:
            if item.get("progress"):
                self._batch_progress.show_progress(to_task_progress({"task": item["id"], **item["progress"]}))
        for task in self._batch_progress.take(to_task_view(item) for item in items):
            self._on_ended(task)
        if self._batch_progress.done:
            self._done.set()

    async def _try(self, read: Callable[[], Awaitable[None]]) -> None:
        try:
            await read()
        except RemoteError as error:
            self._raise_if_lasting(error)

    def _note_answer(self) -> None:
        self._answered_at = asyncio.get_running_loop().time()

    def _raise_if_lasting(self, error: RemoteError) -> None:
        """Return when the error can pass. Raises: the error, or ServerLostError once it lasted too long."""
        if error.kind not in (Kind.UNAVAILABLE, Kind.NO_CAPACITY, Kind.BUG):
            raise error
        away = asyncio.get_running_loop().time() - self._answered_at
        if away > PATIENCE_S:
            raise ServerLostError(
                f"the server did not answer for {away:.0f} s: {error.what}",
                where=self._api.url,
                hint="run the same command again: it continues the batch",
            ) from error
        self._batch_progress.note = (
            f"the server does not answer for {away:.0f} s; waiting for it" if away > POLL_S else ""
        )


async def wait_for_task(api: Api, task: int) -> Json:
    """Return the task once it has ended. Raises: RemoteError."""
    while True:
        answer = await api.get(f"/corral/v1/tasks/{task}/wait", {"timeout": _HELD_S})
        if answer["finished_at"] is not None:
            return answer


async def wait_for_batch(api: Api, batch: int) -> Json:
    """Return the batch once every task of it has ended. Raises: RemoteError."""
    while True:
        answer = await api.get(f"/corral/v1/batches/{batch}/wait", {"timeout": _HELD_S})
        if answer["done"]:
            return answer


async def read_succeeded(api: Api, since: datetime) -> list[Json]:
    """Read the tasks that were submitted since then and have succeeded, the newest first. Raises: RemoteError."""
    tasks: list[Json] = []
    cursor: str | None = None
    while True:
        query: list[tuple[str, str | int]] = [("state", "succeeded"), ("limit", PAGE)]
        page = await api.get("/corral/v1/tasks", [*query, *([("cursor", cursor)] if cursor else [])])
        recent = [task for task in page["items"] if datetime.fromisoformat(task["created_at"]) >= since]
        tasks += recent
        cursor = page.get("next")
        if not cursor or len(recent) < len(page["items"]):
            return tasks
