"""Outputs of tasks that the queue has, fetched into a folder: what is there already is kept, what broke off goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corral.client.api import Api
from corral.client.collecting import Collector, find_folder
from corral.client.following import Follower
from corral.client.output_folder import Heading
from corral.client.progress import BatchProgress, TaskView, to_task_view


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A folder with outputs."""

    folder: Path
    tasks: tuple[TaskView, ...]

    @property
    def files(self) -> int:
        """How many outputs the tasks have."""
        return sum(len(task.outputs) for task in self.tasks)

    @property
    def unfinished(self) -> int:
        """How many of the tasks have not ended, and can make more."""
        return sum(not task.ended for task in self.tasks)


async def fetch_batch(api: Api, batch: int, out: Path, *, wait: bool) -> Fetched:
    """Fetch a batch's outputs into a folder of its name; with `wait`, as its tasks end, until all have.

    Where the folder is another batch's, the name gets the batch's number.

    Raises: RemoteError, ServerLostError, OutputsIncompleteError, OutputUnwritableError.
    """
    described = await api.get(f"/corral/v1/batches/{batch}")
    heading = Heading(name=described["name"], batch=batch, digest=None)
    folder = find_folder(out, heading.name, heading)
    collector = Collector(api=api, folder=folder, heading=heading, batch_progress=BatchProgress())
    if wait:
        return await _collect(collector, ())
    items = await api.read_list("/corral/v1/tasks", [("batch", batch), ("order", "oldest")])
    return await _collect(collector, [to_task_view(item) for item in items])


async def fetch_task(api: Api, task: int, out: Path) -> Fetched:
    """Fetch a task's outputs into a folder of its number. Raises: as `fetch_batch`."""
    view = to_task_view(await api.get(f"/corral/v1/tasks/{task}"))
    heading = Heading(name=view.name, batch=None, digest=None)
    collector = Collector(
        api=api, folder=find_folder(out, f"task-{task}", heading), heading=heading, batch_progress=BatchProgress()
    )
    return await _collect(collector, [view])


async def _collect(collector: Collector, tasks: Sequence[TaskView]) -> Fetched:
    """Write the outputs of these tasks; of none, those of the whole batch as its tasks end."""
    collector.open()
    try:
        async with asyncio.TaskGroup() as group:
            collecting = group.create_task(collector.run())
            await _hand_in(collector, tasks)
            await collector.drain()
            collecting.cancel()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return Fetched(folder=collector.folder, tasks=tuple(collector.batch_progress.all))


async def _hand_in(collector: Collector, tasks: Sequence[TaskView]) -> None:
    progress, batch = collector.batch_progress, collector.heading.batch
    if not tasks and batch is not None:
        await Follower(collector.api, batch, progress, collector.add).run()
    for task in progress.take(tasks):
        collector.add(task)
