"""When everything would be done follows measured durations and open slots, and is unknown where there are none."""

from __future__ import annotations

from datetime import datetime, timedelta

from corral.hours import make_hours
from corral.scheduling.estimating import WaitingWork, estimate
from corral.scheduling.values import DurationKey, Gate, Queue, RunningTask
from corral.work import SlotId
from doubles.scheduling_values import NOW, a_place

LLAMA = DurationKey("llama", "m", "RTX 4090")
MEASURED = {LLAMA: 10.0}


def work(count: int, **changes: str) -> WaitingWork:
    return WaitingWork(**{"queue": "default", "engine": "llama", "model": "m", "count": count, **changes})  # pyright: ignore[reportArgumentType]


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def estimate_end(waiting, slots, queues, measured, now):
    return estimate(waiting, slots, queues, measured, now).ends_at


def count_done(waiting, slots, queues, measured, now, *, by):
    return estimate(waiting, slots, queues, measured, now, by=by).done_by


def test_tasks_are_shared_among_the_slots_that_can_run_them() -> None:
    slots = [a_place("node/gpu0"), a_place("node/gpu1"), a_place("node/cpu0", engines=frozenset({"piper"}))]
    assert estimate_end([work(5)], slots, {}, MEASURED, NOW) == after(30)


def test_a_slow_slot_gets_no_more_than_it_ends_in_time() -> None:
    slots = [a_place("node/gpu0"), a_place("node/gpu1", device_model="GTX 1060")]
    measured = {**MEASURED, DurationKey("llama", "m", "GTX 1060"): 35.0}
    assert estimate_end([work(4)], slots, {}, measured, NOW) == after(35)


def test_tasks_that_must_run_on_a_node_are_laid_out_on_its_slots_alone() -> None:
    slots = [a_place("here/gpu0"), a_place("there/gpu0")]
    assert estimate_end([work(4, node="here")], slots, {}, MEASURED, NOW) == after(40)
    assert estimate_end([work(4, node="gone")], slots, {}, MEASURED, NOW) is None


def test_running_tasks_come_first() -> None:
    running = RunningTask(
        task=1, owner="ada", queue="default", engine="llama", model="m", memory=None, started_at=NOW,
        expected_end=after(7),
    )  # fmt: skip
    assert estimate_end([], [a_place(running=running)], {}, MEASURED, NOW) == after(7)
    assert estimate_end([work(2)], [a_place(running=running)], {}, MEASURED, NOW) == after(27)


def test_a_hundred_thousand_tasks_are_laid_out_in_portions() -> None:
    slots = [a_place(f"node/gpu{index}") for index in range(4)]
    end = estimate_end([work(100_000)], slots, {}, MEASURED, NOW)
    assert end is not None
    assert abs((end - NOW).total_seconds() - 250_000) <= 1_000


def test_what_nothing_was_measured_for_has_an_unknown_end() -> None:
    assert estimate_end([work(1)], [a_place()], {}, {}, NOW) is None
    assert estimate_end([], [a_place()], {}, MEASURED, NOW) is None


def test_work_that_no_open_slot_takes_has_an_unknown_end() -> None:
    elsewhere = Queue(name="default", pool=frozenset({SlotId("other/gpu0")}))
    assert estimate_end([work(1)], [a_place()], {"default": elsewhere}, MEASURED, NOW) is None
    assert estimate_end([work(1)], [a_place()], {"default": Queue(name="default", paused=True)}, MEASURED, NOW) is None
    assert estimate_end([work(1)], [a_place(gate=Gate.DRAINING)], {}, MEASURED, NOW) is None


NIGHT = make_hours({"daily": ((22 * 60, 30 * 60),)}, zone="UTC")
"""22:00 to 06:00; it is noon."""


def test_closed_hours_of_slots_and_queues_are_left_out() -> None:
    hour = {LLAMA: 3600.0}
    closed = [a_place(hours=NIGHT)]
    assert estimate_end([work(3)], closed, {}, hour, NOW) == after(13 * 3600)
    assert estimate_end([work(10)], closed, {}, hour, NOW) == after((34 + 2) * 3600)
    late = {"late": Queue(name="late", hours=make_hours({"daily": ((4 * 60, 12 * 60),)}, zone="UTC"))}
    assert estimate_end([work(3, queue="late")], closed, late, hour, NOW) == after((40 + 1) * 3600)


def test_hours_that_never_meet_have_no_end() -> None:
    day = {"day": Queue(name="day", hours=make_hours({"daily": ((8 * 60, 12 * 60),)}, zone="UTC"))}
    assert estimate_end([work(1, queue="day")], [a_place(hours=NIGHT)], day, MEASURED, NOW) is None


def test_what_is_done_by_an_instant_is_counted() -> None:
    slots = [a_place("node/gpu0"), a_place("node/gpu1")]
    assert count_done([work(9)], slots, {}, MEASURED, NOW, by=after(25)) == 4
    assert count_done([work(9)], slots, {}, MEASURED, NOW, by=after(500)) == 9
    assert count_done([work(9)], slots, {}, {}, NOW, by=after(25)) is None
    large = count_done([work(100_000)], slots, {}, MEASURED, NOW, by=after(250_000))
    assert large is not None
    assert abs(large - 50_000) <= 100
