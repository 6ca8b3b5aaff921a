"""Dispatchers on a real database, each with a data directory of its own, with engines that the test scripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from corral.scheduling.values import Queue
from corral.slots.registry import Registry
from corral.slots.values import DeviceSpec, Wanted
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.board import Board
from corral.tasks.dispatch_rules import DispatchRules, Timings
from corral.tasks.dispatcher import Dispatcher
from corral.tasks.lifecycle import TERMINAL
from corral.tasks.store.pool import CHANNEL, Pool, connect
from corral.tasks.store.reading import get_tasks
from corral.tasks.values import Task
from corral.units import Bytes
from corral.work import SlotId
from doubles.engines import ScriptedEngine
from doubles.yard import make_slot


class Servers:
    """The dispatchers of a test, which stand for servers on one database."""

    def __init__(self, url: str, pool: Pool, folder: Path) -> None:
        self.pool = pool
        self.url = url
        self._folder = folder
        self.running: list[tuple[Dispatcher, asyncio.Task[None]]] = []

    def start(
        self,
        node: str,
        *engines: ScriptedEngine,
        timings: Timings | None = None,
        device: str | None = None,
        capacity: Bytes | None = None,
    ) -> tuple[Dispatcher, Board]:
        """Start a dispatcher with one slot per engine, on one device if it is named, and a holder of its own."""
        folder = self._folder / node
        artifacts, board = ArtifactStore(folder / "artifacts"), Board()
        artifacts.prepare()
        dispatcher = Dispatcher(
            url=self.url,
            pool=self.pool,
            holder=uuid4(),
            slots=Registry(_make_slots(node, engines, device, capacity)),
            rules=DispatchRules(queues={"default": Queue(name="default")}),
            artifacts=artifacts,
            scratch=folder / "scratch",
            board=board,
            timings=timings or Timings(stop_grace_s=0.2),
        )
        self.running.append((dispatcher, asyncio.create_task(dispatcher.run())))
        return dispatcher, board

    async def until(self, holds: Callable[[Task], bool], *ids: int, within_s: float = 15) -> tuple[Task, ...]:
        """Wait, on the story's notifications, until every task is as described; longer than a safety poll may take."""
        return await self.until_some(holds, len(ids), *ids, within_s=within_s)

    async def until_some(
        self, holds: Callable[[Task], bool], count: int, *ids: int, within_s: float = 15
    ) -> tuple[Task, ...]:
        """Wait until so many of the tasks are as described, and return all."""
        connection = await connect(self.url)
        changed = asyncio.Event()
        await connection.add_listener(CHANNEL, lambda *_: changed.set())
        try:
            async with asyncio.timeout(within_s):
                while True:
                    changed.clear()
                    tasks = await get_tasks(self.pool, ids)
                    if len(tasks) == len(ids) and sum(map(holds, tasks)) >= count:
                        return tuple(sorted(tasks, key=lambda task: ids.index(task.id)))
                    await changed.wait()
        finally:
            await connection.close()

    async def ended(self, *ids: int) -> tuple[Task, ...]:
        """Wait until every task has ended."""
        return await self.until(lambda task: task.state in TERMINAL, *ids)

    async def stop(self) -> None:
        """Stop in order what still runs; what does not stop is dropped."""
        for dispatcher, running in self.running:
            dispatcher.stop()
            dispatcher.release()
            await asyncio.wait({running}, timeout=5)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def _make_slots(node: str, engines: Sequence[ScriptedEngine], provider: str | None, capacity: Bytes | None) -> Wanted:
    names = [SlotId(f"{node}/cpu{index}") for index in range(len(engines))]
    return Wanted(
        devices=tuple(
            DeviceSpec(name=name, node=node, provider=provider or name, model="cpu", memory=capacity) for name in names
        ),
        slots=tuple(make_slot(name, engine) for name, engine in zip(names, engines, strict=True)),
    )


@pytest.fixture
async def servers(database_url: str, pool: Pool, tmp_path: Path) -> AsyncIterator[Servers]:
    """Servers that are stopped at the end."""
    servers = Servers(database_url, pool, tmp_path)
    yield servers
    await servers.stop()
