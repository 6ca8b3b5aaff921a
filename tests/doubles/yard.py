"""A dispatcher on a real database, started, crashed and stopped by the test.

Everything in it is the product's own; what tests put in is the engines, the waits and the monotonic clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

from corral.scheduling.values import Place, Queue
from corral.slots.registry import Registry
from corral.slots.values import DeviceSpec, SlotSpec, Wanted
from corral.tasks.alarms import Alarms
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.board import Board
from corral.tasks.dispatch_rules import DispatchRules, Timings
from corral.tasks.dispatcher import Dispatcher
from corral.tasks.lifecycle import TERMINAL
from corral.tasks.store.pool import CHANNEL, Pool, connect
from corral.tasks.store.reading import get_tasks
from corral.tasks.store.story import Entry, append, open_writing
from corral.tasks.values import Task
from corral.units import Bytes
from corral.work import Engine, SlotId

GPU = SlotId("node/gpu0")


class Yard:
    """A dispatcher with its slots, started and stopped by the test."""

    def __init__(self, url: str, pool: Pool, folder: Path) -> None:
        self.pool = pool
        self.board = Board()
        self.alarms = Alarms()
        self.artifacts = ArtifactStore(folder / "artifacts")
        self.artifacts.prepare()
        self.holder: UUID = uuid4()
        self._url = url
        self.folder = folder
        self.slots = Registry()
        """The slots of the dispatcher that was started last."""
        self._scratch = folder / "scratch"
        self._running: list[tuple[Dispatcher, asyncio.Task[None]]] = []

    def start(
        self,
        *engines: Engine,
        queues: Sequence[Queue] = (),
        timings: Timings = Timings(stop_grace_s=0.2),  # noqa: B008 (a frozen value)
        monotonic: Callable[[], float] = time.monotonic,
        wanted: Wanted | None = None,
    ) -> Dispatcher:
        """Start a dispatcher with one CPU slot per engine, or with the slots that are wanted."""
        self.slots = Registry(make_slots(*engines) if wanted is None else wanted)
        known: Mapping[str, Queue] = {queue.name: queue for queue in (Queue(name="default"), *queues)}
        dispatcher = Dispatcher(
            url=self._url,
            pool=self.pool,
            holder=self.holder,
            slots=self.slots,
            rules=DispatchRules(queues=known),
            artifacts=self.artifacts,
            scratch=self._scratch,
            board=self.board,
            alarms=self.alarms,
            timings=timings,
            monotonic=monotonic,
        )
        self._running.append((dispatcher, asyncio.create_task(dispatcher.run())))
        return dispatcher

    async def until_leading(self) -> None:
        """Wait until the dispatcher gives turns; fail after a minute."""
        async with asyncio.timeout(60):
            while not self.board.leading:  # noqa: ASYNC110 (the board has no signal of it)
                await asyncio.sleep(0.02)

    async def until(self, holds: Callable[[Task], bool], *ids: int) -> tuple[Task, ...]:
        """Wait, on the story's notifications, until every task is as described; fail after half a minute."""
        return await self.until_some(holds, len(ids), *ids)

    async def until_some(self, holds: Callable[[Task], bool], count: int, *ids: int) -> tuple[Task, ...]:
        """Wait until so many of the tasks are as described, and return all."""
        connection = await connect(self._url)
        changed = asyncio.Event()
        await connection.add_listener(CHANNEL, lambda *_: changed.set())
        try:
            async with asyncio.timeout(30):
                while True:
                    changed.clear()
                    tasks = await get_tasks(self.pool, ids)
                    if len(tasks) == len(ids) and sum(holds(task) for task in tasks) >= count:
                        return tuple(sorted(tasks, key=lambda task: ids.index(task.id)))
                    await changed.wait()
        finally:
            await connection.close()

    async def ended(self, *ids: int) -> tuple[Task, ...]:
        """Wait until every task has ended."""
        return await self.until(lambda task: task.state in TERMINAL, *ids)

    async def tell_gates_changed(self) -> None:
        """Say in the story that a gate was changed, as the API does."""
        async with open_writing(self.pool) as opened:
            await append(opened, [Entry(kind="gate_changed")])

    async def shown(self, holds: Callable[[tuple[Place, ...]], bool]) -> None:
        """Wait until the board shows the slots as described; fail after half a minute."""
        async with asyncio.timeout(30):
            while not ((slots := tuple(place.facts for place in self.board.places)) and holds(slots)):
                await self.board.wait_for_change()

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


def make_slots(*engines: Engine) -> Wanted:
    """Return one CPU device per engine, with that engine's slot."""
    names = [SlotId(f"node/cpu{index}") for index in range(len(engines))]
    return Wanted(
        devices=tuple(DeviceSpec(name=name, node="node", provider=name, model="cpu") for name in names),
        slots=tuple(make_slot(name, engine) for name, engine in zip(names, engines, strict=True)),
    )


def make_gpu_slots(*engines: Engine, memory: int = 24 * 2**30) -> Wanted:
    """Return one GPU with the slots of these engines, each a place of its own."""
    device = DeviceSpec(name=GPU, node="node", provider="node/GPU-1", model="RTX 4090", memory=Bytes(memory))
    slots = (make_slot(GPU, engine) for engine in engines)
    return Wanted(devices=(device,), slots=tuple(replace(slot, place=slot.id) for slot in slots))


def make_slot(device: SlotId, engine: Engine) -> SlotSpec:
    """Return the slot of an engine on a device."""
    slot = SlotId(f"{device}/{engine.name}")
    return SlotSpec(id=slot, device=device, place=device, engine=engine.name, make=lambda: engine)
