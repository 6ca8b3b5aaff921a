"""The cost of one decision: 10 to 1,000 places of which some are free, and 512 candidates out of a long queue.

`python -m benchmarks.policy_cost` prints the table. Candidates are chosen anew for each decision, as the dispatcher
does, and one place of the table is put in anew; the columns are the choice, the change and the decision, as medians of
processor time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import median

from benchmarks.table import machine, show
from corral.scheduling.backlog import Backlog
from corral.scheduling.judgement import CANDIDATES
from corral.scheduling.place_table import PlaceTable
from corral.scheduling.policy import decide
from corral.scheduling.values import (
    DurationKey,
    Place,
    PolicyBounds,
    Priority,
    QueuedTask,
    ResidentModel,
    RunningTask,
    Snapshot,
    TaskClass,
)
from corral.work import SlotId

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MODELS = tuple(f"model-{number}" for number in range(6))
OWNERS = ("ada", "bob", "cid", "dan", "eve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A queue of a kind, and how many places are free."""

    name: str
    queued: int
    places: int = 10
    free: int = 1
    models: Sequence[str] = MODELS
    resident: str = "model-0"
    oldest_s: float = 3_000.0
    interactive: float = 0.02
    """Part of the tasks that a person waits for."""


CASES = (
    Case(name="512 tasks, 1 slot free", queued=512),
    Case(name="100,000 tasks, 1 slot free", queued=100_000),
    Case(name="100,000 tasks, 10 slots free", queued=100_000, free=10),
    Case(name="100,000 tasks past their bound, 1 slot free", queued=100_000, oldest_s=90_000.0, interactive=0.0),
    Case(name="100,000 tasks of one model that is loaded", queued=100_000, models=MODELS[:1]),
    Case(name="100,000 tasks, none with the loaded model", queued=100_000, models=MODELS[1:]),
    Case(name="100,000 tasks, no slot free", queued=100_000, free=0),
    Case(name="100,000 tasks, 64 of 64 slots free", queued=100_000, places=64, free=64),
    Case(name="100,000 tasks, 128 of 128 slots free", queued=100_000, places=128, free=128),
    Case(name="100,000 tasks, 1 of 1,000 slots free", queued=100_000, places=1_000),
    Case(name="100,000 tasks, 100 of 1,000 slots free", queued=100_000, places=1_000, free=100),
    Case(name="100,000 tasks, 1,000 of 1,000 slots free", queued=100_000, places=1_000, free=1_000),
    Case(name="100,000 tasks, no slot of 1,000 free", queued=100_000, places=1_000, free=0),
)


def backlog(case: Case) -> Backlog:
    """A queue of five owners, some priorities and models; the same each time."""
    chance = Random(5)
    return Backlog(
        QueuedTask(
            id=number,
            owner=chance.choice(OWNERS),
            queue="default",
            engine="comfyui",
            model=chance.choice(case.models),
            task_class=TaskClass.INTERACTIVE if chance.random() < case.interactive else TaskClass.BATCH,
            priority=chance.choice((Priority.NORMAL, Priority.NORMAL, Priority.LOW)),
            queued_at=NOW - timedelta(seconds=chance.uniform(0, case.oldest_s)),
        )
        for number in range(case.queued)
    )


def places(case: Case) -> PlaceTable:
    """GPUs of two models, the first few free."""
    return PlaceTable(_place(number, free=number < case.free, model=case.resident) for number in range(case.places))


def _place(number: int, *, free: bool, model: str) -> Place:
    running = RunningTask(
        task=-1 - number,
        owner=OWNERS[number % len(OWNERS)],
        queue="default",
        engine="comfyui",
        model=model,
        memory=None,
        started_at=NOW - timedelta(seconds=number),
        expected_end=NOW + timedelta(seconds=5 + number),
    )
    return Place(
        id=SlotId(f"node-{number // 2}/gpu{number % 2}"),
        node=f"node-{number // 2}",
        device=f"device-{number}",
        device_model=("RTX 5070 Ti", "RTX 3060")[number % 2],
        engines=frozenset({"comfyui"}),
        resident=(ResidentModel(engine="comfyui", model=model),),
        running=() if free else (running,),
    )


def _row(case: Case, rounds: int) -> tuple[str, ...]:
    queue, bounds = backlog(case), PolicyBounds()
    durations = {
        DurationKey("comfyui", model, gpu): 30.0 if gpu == "RTX 5070 Ti" else 75.0
        for model in MODELS
        for gpu in ("RTX 5070 Ti", "RTX 3060")
    }
    table = places(case)
    snapshot = Snapshot(now=NOW, tasks=(), places=table, queues={}, durations=durations, bounds=bounds)
    last = list(table)[-1]
    choosing: list[float] = []
    changing: list[float] = []
    deciding: list[float] = []
    for _ in range(rounds):
        begun = time.process_time()
        tasks = queue.select_candidates(NOW, bounds, CANDIDATES, free=case.free)
        chosen = time.process_time()
        table.put(replace(last))
        changed = time.process_time()
        decide(replace(snapshot, tasks=tasks))
        deciding.append(time.process_time() - changed)
        changing.append(changed - chosen)
        choosing.append(chosen - begun)
    return case.name, *(f"{median(times) * 1000:.3f}" for times in (choosing, changing, deciding))


def main() -> None:
    """Time all cases and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=300, help="times that each case is decided (%(default)s)")
    rounds = parser.parse_args().rounds
    rows = [_row(case, rounds) for case in CASES]
    head = ("10 slots, unless more are said", "choose (ms)", "change (ms)", "decide (ms)")
    show(f"Up to {CANDIDATES} candidates", head, rows, [machine()])


if __name__ == "__main__":
    main()
