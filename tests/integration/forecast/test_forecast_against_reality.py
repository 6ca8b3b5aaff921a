"""A batch is forecast, then really run on slots, and both take equally long."""

from __future__ import annotations

from itertools import cycle, islice, pairwise

import pytest

from builders import a_submission, a_task
from corral.scheduling.simulator import simulate, summarise
from corral.scheduling.simulator.values import Arrival, Load, Trace
from corral.scheduling.values import Place
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.submitting import submit
from corral.work import SlotId
from doubles.timed_engine import LoadingEngine
from doubles.yard import Yard

LOAD_S = 0.8
LENGTHS = (0.63, 1.44, 1.2, 1.36, 1.03)
"""Around a second: long against the 10 ms between two tasks, and what a busy machine adds to them.

With these no two tasks end within 0.1 s of each other. Where two do, milliseconds decide which slot is free first, and
a batch as short as this one ends up to a task earlier or later.
"""
APART_S = 0.1
MODELS = ("base", "base", "fine")
TASKS = tuple(islice(zip(cycle(LENGTHS), cycle(MODELS), strict=False), 20))
SLOTS = 3
TOLERANCE = 0.05


def the_forecast(slots: int) -> Trace:
    names = [SlotId(f"node/cpu{index}") for index in range(slots)]
    return Trace(
        arrivals=tuple(
            Arrival(id=number, at_s=0, owner="ada", engine="sleep", model=model, seconds={"cpu": seconds})
            for number, (seconds, model) in enumerate(TASKS, start=1)
        ),
        places=tuple(
            Place(id=name, node="node", device=name, device_model="cpu", engines=frozenset({"sleep"})) for name in names
        ),
        loads=tuple(Load(engine="sleep", model=model, seconds=LOAD_S) for model in set(MODELS)),
    )


@pytest.mark.alone
async def test_a_batch_takes_as_long_as_was_forecast(yard: Yard) -> None:
    trace = the_forecast(SLOTS)
    run = simulate(trace)
    foreseen = summarise(trace, run)
    ends = sorted(span.until_s for span in run.spans)
    assert min(after - before for before, after in pairwise(ends)) > APART_S
    specs = [a_task(f"t{index}", model=model, inputs={"seconds": s}) for index, (s, model) in enumerate(TASKS)]
    ids = (await submit(yard.pool, a_submission(*specs), queued_limits={})).tasks

    yard.start(*(LoadingEngine(LOAD_S) for _ in range(SLOTS)))
    done = await yard.ended(*ids)

    assert {task.state for task in done} == {TaskState.SUCCEEDED}
    begun = min(task.started_at for task in done if task.started_at)
    ended = max(task.finished_at for task in done if task.finished_at)
    assert (ended - begun).total_seconds() == pytest.approx(foreseen.makespan_s, rel=TOLERANCE)
    assert foreseen.swaps > 0, "a batch without swaps would not test their cost"
