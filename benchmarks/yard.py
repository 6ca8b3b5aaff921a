"""A real dispatcher on a real database, with engines that do nothing or sleep, as the benchmarks need it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from corral.requests import BatchFields
from corral.scheduling.values import Queue
from corral.slots.registry import Registry
from corral.slots.values import DeviceSpec, SlotSpec, Wanted
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.board import Board
from corral.tasks.dispatch_rules import DispatchRules
from corral.tasks.dispatcher import Dispatcher
from corral.tasks.store.pool import Pool
from corral.tasks.store.submitting import submit
from corral.tasks.values import Submission, TaskSpec
from corral.work import Engine, Produced, Reporter, Resident, SlotId, Work

LEAD_S = 60.0
"""A dispatcher leads within a second; on a machine with much other work it takes several."""
_POLL_S = 0.002


class NothingEngine:
    """Does nothing, well: what is left is the queue."""

    name = "sleep"

    async def run(self, work: Work, report: Reporter) -> Produced:
        return Produced()

    async def resident(self) -> tuple[Resident, ...]:
        return ()

    async def check(self) -> None:
        return

    async def release(self) -> None:
        return

    async def kill(self) -> None:
        return

    async def close(self) -> None:
        return


@asynccontextmanager
async def dispatching(
    url: str, pool: Pool, folder: Path, engines: Sequence[Engine], *, lanes: int = 1
) -> AsyncIterator[Dispatcher]:
    """Run a dispatcher with one slot per engine for as long as the context lasts; it leads when this yields."""
    artifacts = ArtifactStore(folder / "artifacts")
    artifacts.prepare()
    board = Board()
    dispatcher = Dispatcher(
        url=url,
        pool=pool,
        holder=uuid4(),
        slots=Registry(_make_slots(engines, lanes)),
        rules=DispatchRules(queues={"default": Queue(name="default")}),
        artifacts=artifacts,
        scratch=folder / "scratch",
        board=board,
    )
    running = asyncio.create_task(dispatcher.run())
    try:
        async with asyncio.timeout(LEAD_S):
            while not board.leading:
                await board.wait_for_change()
        yield dispatcher
    finally:
        dispatcher.stop()
        await running


def _make_slots(engines: Sequence[Engine], lanes: int) -> Wanted:
    names = [SlotId(f"node/cpu{index}") for index in range(len(engines))]
    return Wanted(
        devices=tuple(DeviceSpec(name=name, node="node", provider=name, model="cpu") for name in names),
        slots=tuple(_make_slot(name, engine, lanes) for name, engine in zip(names, engines, strict=True)),
    )


def _make_slot(device: SlotId, engine: Engine, lanes: int) -> SlotSpec:
    slot = SlotId(f"{device}/{engine.name}")
    return SlotSpec(id=slot, device=device, place=device, engine=engine.name, lanes=lanes, make=lambda: engine)


async def submit_tasks(pool: Pool, tasks: int, batch: int, seconds: float) -> list[int]:
    """Submit the tasks in batches, as the API does after its checks; return their ids."""
    ids: list[int] = []
    for start in range(0, tasks, batch):
        specs = tuple(
            TaskSpec(name=f"task-{number}", engine="sleep", inputs={"seconds": seconds})
            for number in range(start, min(start + batch, tasks))
        )
        accepted = await submit(
            pool, Submission(owner="benchmark", batch=BatchFields(name=f"batch-{start}"), tasks=specs), queued_limits={}
        )
        ids += accepted.tasks
    return ids


async def until_ended(pool: Pool) -> None:
    """Wait until the last task's end is committed, and see that all succeeded. Raises: RuntimeError.

    The last task is looked up by its key, since a look for open tasks would go through all that have ended.
    """
    last = await pool.fetchval("select max(id) from tasks")
    while await pool.fetchval("select finished_at is null from tasks where id = $1", last):  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)  # a remote condition
    while await pool.fetchval("select exists (select from tasks where finished_at is null)"):  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)
    wrong = await pool.fetchval("select count(*) from tasks where state <> 'succeeded'")
    if wrong:
        raise RuntimeError(f"{wrong} tasks did not succeed")
