"""Tasks that can start are counted as they come and go, so that they can be compared with the database's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from corral.tasks.lifecycle import TaskState
from corral.tasks.ready_tasks import ReadyTasks
from corral.tasks.store.dispatching import RANGE, Ready
from corral.work import SlotId
from doubles.scheduling_values import a_queued

THERE = SlotId("node/gpu0/comfyui")
IDS = st.integers(1, 3 * RANGE)
STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "return", "join", "later", "pop", "drop", "due"]), IDS), max_size=60
)


def ready(
    task: int, *, delay_s: float = 0.0, state: TaskState = TaskState.QUEUED, prefer_slot: SlotId | None = None
) -> Ready:
    return Ready(task=a_queued(task, prefer_slot=prefer_slot), state=state, delay_s=delay_s)


@given(STEPS)
def test_ranges_count_what_can_start_now(steps: list[tuple[str, int]]) -> None:
    tasks = ReadyTasks()
    for step, task in steps:
        match step:
            case "take":
                tasks.sort_in([ready(task)], now=0.0)
            case "return":
                tasks.sort_in([ready(task, prefer_slot=THERE)], now=0.0)
            case "join" if task in tasks.returning:
                tasks.join_backlog(task)
            case "later":
                tasks.sort_in([ready(task, delay_s=5.0)], now=0.0)
            case "pop":
                tasks.pop(task)
            case "drop":
                tasks.drop(task)
            case _:
                tasks.pop_due(now=10.0)
    ids = [*(task.id for task in tasks.backlog), *tasks.returning]
    assert len(ids) == len(set(ids))
    numbers = {id // RANGE for id in ids}
    assert tasks.ranges == {
        number: (
            sum(id // RANGE == number for id in ids),
            sum(id for id in ids if id // RANGE == number),
        )
        for number in numbers
    }
    assert {id for number in numbers for id in tasks.list_backlog(number)} == set(ids)


def test_task_that_ran_before_is_not_in_the_backlog_before_it_joins_that() -> None:
    tasks = ReadyTasks()
    tasks.sort_in([ready(7, prefer_slot=THERE)], now=0.0)
    assert (7 in tasks, 7 in tasks.backlog, list(tasks.returning)) == (True, False, [7])
    tasks.join_backlog(7)
    assert (7 in tasks, 7 in tasks.backlog, list(tasks.returning)) == (True, True, [])


def test_timer_that_ended_is_taken_out_once() -> None:
    tasks = ReadyTasks()
    tasks.sort_in([ready(7, delay_s=5.0)], now=100.0)
    assert (7 in tasks, tasks.find_next_due()) == (True, 105.0)
    assert tasks.pop_due(now=104.0) == []
    assert tasks.pop_due(now=105.0) == [7]
    assert (7 in tasks, tasks.pop_due(now=200.0)) == (False, [])


def test_task_whose_start_time_has_come_must_become_queued_first() -> None:
    tasks = ReadyTasks()
    assert tasks.sort_in([ready(7, state=TaskState.WAITING), ready(8)], now=0.0) == [7]
    assert (7 in tasks, 8 in tasks) == (False, True)
