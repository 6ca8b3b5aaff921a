"""When a server can be started again."""

from __future__ import annotations

from corral.processes.restarts import History, OutOfUse, RestartRules, StartAt, add_end, decide_start

RULES = RestartRules(first_wait_s=1, longest_wait_s=3, settled_s=60, most_failures=5)


def end(history: History, *, ready_at: float | None = None, now: float) -> History:
    return add_end(history, ready_at=ready_at, now=now, rules=RULES)


def test_first_start_and_the_one_after_a_single_end_wait_for_nothing() -> None:
    assert decide_start(History(), rules=RULES) == StartAt(at=0)
    assert decide_start(end(History(), now=10), rules=RULES) == StartAt(at=10)


def test_each_failure_in_a_row_doubles_the_wait_up_to_the_longest() -> None:
    history, waits = History(), list[float]()

    for now in (10, 20, 30, 40):
        history = end(history, now=now)
        decision = decide_start(history, rules=RULES)
        assert isinstance(decision, StartAt)
        waits.append(decision.at - now)

    assert waits == [0, 1, 2, 3]


def test_server_that_keeps_failing_is_out_of_use() -> None:
    history = History()

    for now in range(5):
        history = end(history, now=now)

    assert decide_start(history, rules=RULES) == OutOfUse(failures=5)


def test_server_that_worked_long_enough_begins_a_new_row() -> None:
    history = end(end(end(History(), now=1), now=2), now=3)

    assert end(history, ready_at=10, now=69).failures == 4
    assert end(history, ready_at=10, now=70).failures == 1
