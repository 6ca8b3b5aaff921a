"""The order behind the head of a line, which a decision looks at many times."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from corral.cluster.values import QueueOrder
from corral.scheduling.fairness import Account
from corral.scheduling.ordering import Line
from corral.scheduling.values import FairShare, PolicyBounds, Priority, Queue, QueuedTask
from doubles.scheduling_values import NOW, a_queued, ago

EXPECTED_S = {"a": 10.0, "b": 30.1, "c": 75.0}
QUEUES = {"default": Queue(name="default"), "night": Queue(name="night", order=QueueOrder.FIFO)}
TASKS = st.lists(
    st.builds(
        lambda **changes: changes,
        owner=st.sampled_from(("ada", "bob", "cid")),
        model=st.sampled_from(tuple(EXPECTED_S)),
        queue=st.sampled_from(tuple(QUEUES)),
        queued_at=st.integers(0, 20).map(ago),
        precedence=st.sampled_from((0, 0, 0, -2, 1, 7)),
    ),
    min_size=2,
    max_size=12,
)


def expect_seconds(task: QueuedTask) -> float:
    return EXPECTED_S[task.model or ""]


def a_line(tasks: list[QueuedTask], charged: dict[str, float]) -> Line:
    bounds = PolicyBounds(promote_after=timedelta(hours=1))
    return Line(tasks, account=Account(FairShare(charged=charged)), queues=QUEUES, bounds=bounds, now=NOW)


@given(TASKS, st.lists(st.integers(0, 3), min_size=12, max_size=12))
def test_tasks_behind_the_head_are_in_the_order_that_a_new_line_has_whatever_started_before(changes, steps):
    waiting = [a_queued(number, **fields) for number, fields in enumerate(changes)]
    charged: dict[str, float] = {}
    line = a_line(waiting, charged)
    for step in steps:
        if line.find_head() is None:
            break
        upcoming = list(line.look_behind_head(5, expect_seconds))
        anew = a_line(waiting, charged)
        anew.find_head()
        assert upcoming == list(anew.look_behind_head(5, expect_seconds))
        starting = upcoming[min(step // 2, len(upcoming) - 1)]  # the head, or a task that passes it
        seconds = expect_seconds(starting) * (1 + step % 2)  # as it is expected here, or elsewhere
        line.start(starting, seconds)
        charged[starting.owner] = charged.get(starting.owner, 0.0) + seconds
        waiting.remove(starting)


def list_order(tasks: list[QueuedTask]) -> list[int]:
    """Start every task in turn, each for nothing, and return their numbers."""
    line, order = a_line(tasks, {}), list[int]()
    while (head := line.find_head()) is not None:
        order.append(head.id)
        line.remove(head)
    return order


def test_owners_tasks_go_by_precedence_and_then_by_age() -> None:
    asked = [(0, 5), (3, 1), (-1, 9), (3, 2), (0, 7)]
    tasks = [
        a_queued(number, precedence=precedence, queued_at=ago(seconds))
        for number, (precedence, seconds) in enumerate(asked)
    ]

    assert list_order(tasks) == [3, 1, 4, 0, 2]


def test_precedence_moves_no_owner_before_another_and_no_task_over_a_priority() -> None:
    bobs = a_queued(1, owner="bob", precedence=1000, queued_at=ago(5))
    adas = a_queued(2, owner="ada", queued_at=ago(10))
    urgent = a_queued(3, owner="ada", priority=Priority.HIGH, queued_at=ago(1))

    assert list_order([bobs, adas, urgent]) == [3, 2, 1]


def test_promoted_tasks_and_those_of_a_fifo_queue_go_by_age_alone() -> None:
    old = [a_queued(number, precedence=number, queued_at=ago(5000 - number)) for number in (1, 2)]
    fifo = [a_queued(number, queue="night", precedence=number, queued_at=ago(50 - number)) for number in (3, 4)]

    assert list_order(old) == [1, 2]
    assert list_order(fifo) == [3, 4]
