"""A process with one dispatcher, which a test stops and continues: `python lone_dispatcher.py URL FOLDER BEAT_S`.

It stands for a server that leads: the dispatcher, its slots and the database are the product's own, the engine only
waits. A line on stdout says `leading` or `standby` whenever that changes. It runs until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as pytest does with the folder of the tests

from corral.engines.sleep.engine import SleepingEngine
from corral.scheduling.values import Queue
from corral.slots.registry import Registry
from corral.slots.values import DeviceSpec, Wanted
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.board import Board
from corral.tasks.dispatch_rules import DispatchRules, Timings
from corral.tasks.dispatcher import Dispatcher
from corral.tasks.leadership import Rhythm
from corral.tasks.store.pool import open_pool
from corral.work import SlotId
from doubles.yard import make_slot

SLOT = SlotId("lone/cpu0")


async def main(url: str, folder: Path, beat_s: float) -> None:
    """Dispatch for ever, and print each change of the lead."""
    board, artifacts = Board(), ArtifactStore(folder / "artifacts")
    artifacts.prepare()
    device = DeviceSpec(name=SLOT, node="lone", provider=SLOT, model="cpu")
    dispatcher = Dispatcher(
        url=url,
        pool=await open_pool(url, size=3),
        holder=uuid4(),
        slots=Registry(Wanted(devices=(device,), slots=(make_slot(SLOT, SleepingEngine()),))),
        rules=DispatchRules(queues={"default": Queue(name="default")}),
        artifacts=artifacts,
        scratch=folder / "scratch",
        board=board,
        timings=Timings(rhythm=Rhythm(beat_s=beat_s)),
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(dispatcher.run())
        shown = None
        while True:
            if board.leading is not shown:
                shown = board.leading
                print("leading" if shown else "standby", flush=True)  # noqa: T201 (the test reads it)
            await board.wait_for_change()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])))
