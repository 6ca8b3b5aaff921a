"""When a GPU with errors is closed, and when it opens; time is given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from corral.slots.health import Health, Signs, judge

EIGHT = datetime(2026, 11, 29, 20, 0, tzinfo=UTC)
FINE, BUSY_ERROR = Signs(ecc_uncorrected=0, slowdowns=()), Signs(xids=(62,))
HOT = Signs(slowdowns=("thermal slowdown by the hardware",))


def follow(*looks: tuple[float, Signs], resumed_at: float | None = None) -> list[bool]:
    """Say after which of the looks, at these minutes past eight, the GPU is closed."""
    health, closed = Health(), list[bool]()
    for minute, signs in looks:
        health = judge(health, signs, EIGHT + timedelta(minutes=minute), is_resumed=minute == resumed_at)
        closed.append(health.fault is not None)
    return closed


def every_minute(signs: Signs, minutes: Sequence[int]) -> list[tuple[float, Signs]]:
    return [(minute, signs) for minute in minutes]


def test_xid_of_the_gpu_closes_it_until_ten_minutes_were_quiet() -> None:
    assert follow((0, FINE), (1, BUSY_ERROR), (2, FINE), (10.9, FINE), (11, FINE)) == [False, True, True, True, False]


def test_xid_of_a_program_closes_nothing() -> None:
    assert follow((0, Signs(xids=(13, 31, 43, 45, 68, 109)))) == [False]


def test_pause_doubles_with_each_closing_and_is_short_again_after_a_day() -> None:
    again = follow((0, BUSY_ERROR), (10, FINE), (11, BUSY_ERROR), (21, FINE), (31, FINE))
    days_later = follow((0, BUSY_ERROR), (10, FINE), (2000, BUSY_ERROR), (2010, FINE))

    assert again == [True, False, True, True, False]
    assert days_later == [True, False, True, False]


def test_slowdown_of_less_than_a_minute_closes_nothing() -> None:
    assert follow((0, HOT), (0.9, HOT), (0.95, FINE), (1.5, HOT), (2.4, HOT)) == [False] * 5


def test_slowdown_of_a_minute_closes_until_it_was_cool_for_ten() -> None:
    looks = [*every_minute(HOT, range(3)), *every_minute(FINE, (3, 11, 12))]

    assert follow(*looks) == [False, True, True, True, True, False]


def test_slowdown_that_a_driver_does_not_report_for_a_look_goes_on() -> None:
    assert follow((0, HOT), (0.5, Signs()), (1, HOT)) == [False, False, True]


def test_memory_errors_close_until_the_gpu_was_reset() -> None:
    errors = Signs(ecc_uncorrected=2)

    assert follow((0, FINE), (1, errors), (600, errors), (601, FINE), (610, FINE)) == [False, True, True, True, False]


def test_person_who_resumes_accepts_the_errors_of_before_and_none_that_follow() -> None:
    two, three = Signs(ecc_uncorrected=2), Signs(ecc_uncorrected=3)

    assert follow((0, two), (1, two), (2, two), (3, Signs()), (4, two), (5, three), resumed_at=1) == [
        True,
        False,
        False,
        False,
        False,
        True,
    ]


def test_reset_ends_what_was_accepted() -> None:
    two, fewer = Signs(ecc_uncorrected=2), Signs(ecc_uncorrected=1)

    assert follow((0, two), (1, two), (2, FINE), (3, fewer), resumed_at=1) == [True, False, False, True]


def test_reason_names_the_xid_and_its_meaning() -> None:
    health = judge(Health(), Signs(xids=(31, 79)), EIGHT, is_resumed=False)

    assert health.fault == "its driver reported XID 79: it fell off the bus"
