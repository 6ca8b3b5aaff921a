"""A dispatcher on a real database, with engines that the test scripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from corral.scheduling.values import Queue, Slot
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.board import Board
from corral.tasks.dispatcher import Dispatcher, Rules, Timings
from corral.tasks.lifecycle import TERMINAL
from corral.tasks.stations import StationSetup
from corral.tasks.store.pool import Pool, connect
from corral.tasks.store.reading import get_tasks
from corral.tasks.store.story import CHANNEL, Entry, append
from corral.tasks.values import Task
from corral.work import SlotId
from doubles.engines import ScriptedEngine


class Yard:
    """A dispatcher with its stations, started and stopped by the test."""

    def __init__(self, url: str, pool: Pool, folder: Path) -> None:
        self.pool = pool
        self.board = Board()
        self.artifacts = ArtifactStore(folder / "artifacts")
        self.artifacts.prepare()
        self.holder: UUID = uuid4()
        self._url = url
        self._scratch = folder / "scratch"
        self._running: list[tuple[Dispatcher, asyncio.Task[None]]] = []

    def start(self, *engines: ScriptedEngine, queues: Sequence[Queue] = ()) -> Dispatcher:
        """Start a dispatcher with one CPU slot per engine."""
        stations = [_station(index, {engine.name: engine}) for index, engine in enumerate(engines)]
        known: Mapping[str, Queue] = {queue.name: queue for queue in (Queue(name="default"), *queues)}
        dispatcher = Dispatcher(
            url=self._url,
            pool=self.pool,
            holder=self.holder,
            stations=stations,
            rules=Rules(queues=known),
            artifacts=self.artifacts,
            scratch=self._scratch,
            board=self.board,
            timings=Timings(stop_grace_s=0.2),
        )
        self._running.append((dispatcher, asyncio.create_task(dispatcher.run())))
        return dispatcher

    async def until(self, holds: Callable[[Task], bool], *ids: int) -> tuple[Task, ...]:
        """Wait, on the story's notifications, until every task is as described; fail after half a minute."""
        connection = await connect(self._url)
        changed = asyncio.Event()
        await connection.add_listener(CHANNEL, lambda *_: changed.set())
        try:
            async with asyncio.timeout(30):
                while True:
                    changed.clear()
                    tasks = await get_tasks(self.pool, ids)
                    if len(tasks) == len(ids) and all(holds(task) for task in tasks):
                        return tuple(sorted(tasks, key=lambda task: ids.index(task.id)))
                    await changed.wait()
        finally:
            await connection.close()

    async def ended(self, *ids: int) -> tuple[Task, ...]:
        """Wait until every task has ended."""
        return await self.until(lambda task: task.state in TERMINAL, *ids)

    async def tell_gates_changed(self) -> None:
        """Say in the story that a gate was changed, as the API does."""
        async with self.pool.acquire() as connection, connection.transaction():
            await append(connection, [Entry(kind="gate_changed")])

    async def shown(self, holds: Callable[[tuple[Slot, ...]], bool]) -> None:
        """Wait until the board shows the slots as described; fail after half a minute."""
        async with asyncio.timeout(30):
            while not (self.board.slots and holds(self.board.slots)):
                await self.board.changed()

    async def crash(self) -> None:
        """Drop every dispatcher without a word, as SIGKILL does."""
        for _, running in self._running:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        self._running.clear()

    async def stop(self) -> None:
        """Stop in order."""
        for dispatcher, running in self._running:
            dispatcher.stop()
            dispatcher.release()
            await running
        self._running.clear()


def _station(index: int, engines: Mapping[str, ScriptedEngine]) -> StationSetup:
    slot = SlotId(f"node/cpu{index}")
    return StationSetup(
        slot=slot,
        node="node",
        device=slot,
        device_model="cpu",
        capacity=None,
        visible_device=None,
        engines=engines,
    )


@pytest.fixture
async def yard(database_url: str, pool: Pool, tmp_path: Path) -> AsyncIterator[Yard]:
    """A yard that is stopped at the end."""
    yard = Yard(database_url, pool, tmp_path)
    yield yard
    await yard.stop()
