"""What the simulator promises, each promise with the smallest workload that shows it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from math import inf

import pytest

from corral.hours import make_hours
from corral.scheduling.durations import History, observe
from corral.scheduling.policy import decide
from corral.scheduling.retrying import MAX_LOSSES, backoff
from corral.scheduling.simulator import Watts, simulate, simulate_nights, summarise
from corral.scheduling.simulator.checking import TraceError
from corral.scheduling.simulator.spreading import spread
from corral.scheduling.simulator.values import Arrival, Load, Outage, Span, Trace
from corral.scheduling.values import Decision, DurationKey, Gate, Queue, Rule, Snapshot, TaskClass
from corral.units import Bytes
from corral.work import SlotId
from doubles.traces import a_place, an_arrival

FIRST, SECOND = SlotId("a/gpu0"), SlotId("a/gpu1")
M1 = Load(engine="llama", model="m1", seconds=4)
M2 = Load(engine="llama", model="m2", seconds=4)


def backed_off(failures: int) -> float:
    """Seconds that task 1 waits after so many failures."""
    return round(backoff(failures, spread(1 + failures)).total_seconds(), 6)


def spans_of(trace: Trace) -> list[tuple[int, float, float]]:
    return [(span.task, span.from_s, span.until_s) for span in simulate(trace).spans]


def a_trace(*arrivals: Arrival, **changes: object) -> Trace:
    return replace(Trace(arrivals=arrivals, places=(a_place(),)), **changes)  # type: ignore[arg-type]


def test_a_model_is_loaded_once_and_stays() -> None:
    trace = a_trace(an_arrival(1, model="m1"), an_arrival(2, model="m1"), loads=(M1,))
    assert [(span.load_s, span.until_s) for span in simulate(trace).spans] == [(4, 14), (0, 24)]


def test_an_engine_gives_up_its_model_for_another() -> None:
    tasks = [an_arrival(number, at_s=20 * number, model=f"m{1 + number % 2}") for number in range(3)]
    assert [span.load_s for span in simulate(a_trace(*tasks, loads=(M1, M2))).spans] == [4, 4, 4]


def test_engines_keep_their_models_side_by_side_where_memory_allows() -> None:
    loads = tuple(Load(engine=engine, model="m1", seconds=4, memory=Bytes(3)) for engine in ("llama", "comfyui"))
    tasks = [
        an_arrival(number, at_s=20 * number, model="m1", memory=Bytes(3), engine=("llama", "comfyui")[number % 2])
        for number in range(4)
    ]
    assert [span.load_s for span in simulate(a_trace(*tasks, loads=loads)).spans] == [4, 4, 0, 0]


def test_a_model_that_does_not_fit_beside_the_next_is_evicted() -> None:
    loads = tuple(Load(engine=engine, model="m1", seconds=4, memory=Bytes(5)) for engine in ("llama", "comfyui"))
    tasks = [
        an_arrival(number, at_s=20 * number, model="m1", memory=Bytes(5), engine=("llama", "comfyui")[number % 2])
        for number in range(4)
    ]
    assert [span.load_s for span in simulate(a_trace(*tasks, loads=loads)).spans] == [4, 4, 4, 4]


def test_work_on_a_slot_that_goes_away_is_lost_and_done_again() -> None:
    trace = a_trace(an_arrival(), outages=(Outage(place=FIRST, from_s=6, until_s=8),))
    assert simulate(trace).spans == (
        Span(task=1, places=(FIRST,), from_s=0, until_s=6, load_s=0, lost=True),
        Span(task=1, places=(FIRST,), from_s=8, until_s=18, load_s=0),
    )


def test_a_lost_task_waits_out_the_backoff_of_production() -> None:
    trace = a_trace(an_arrival(), outages=tuple(Outage(place=FIRST, from_s=at, until_s=at + 0.1) for at in (6, 8)))
    assert spans_of(trace) == [(1, 0, 6), (1, 6 + backed_off(1), 8), (1, 8 + backed_off(2), 18 + backed_off(2))]


def test_failed_attempts_are_made_again_after_the_backoff_of_production() -> None:
    first_s, second_s = backed_off(1), backed_off(2)
    trace = a_trace(an_arrival(model="m1", fails_after_s=(3, 5)), loads=(M1,))
    assert [(span.from_s, span.until_s, span.load_s, span.lost) for span in simulate(trace).spans] == [
        (0, 7, 4, True),
        (7 + first_s, pytest.approx(12 + first_s), 0, True),
        (pytest.approx(12 + first_s + second_s), pytest.approx(22 + first_s + second_s), 0, False),
    ]


def test_a_task_in_its_backoff_leaves_its_slot_to_others() -> None:
    trace = a_trace(an_arrival(1, fails_after_s=(3,)), an_arrival(2))
    assert spans_of(trace) == [(1, 0, 3), (2, 3, 13), (1, 13, 23)]


def test_failures_teach_nothing_of_durations() -> None:
    run = simulate(a_trace(an_arrival(fails_after_s=(3,))))
    assert set(run.history.expected.values()) == {10}


def test_a_task_that_has_spent_its_attempts_is_left_with_that_reason_and_what_needs_it_waits() -> None:
    run = simulate(a_trace(an_arrival(1, fails_after_s=(3, 3), max_attempts=2), an_arrival(2, needs=(1,))))
    assert run.because == {1: "failed 2 times", 2: "needs task 1"}


def test_a_task_that_was_lost_too_often_is_left_with_that_reason() -> None:
    away = tuple(Outage(place=FIRST, from_s=1000 * at + 999, until_s=1000 * at + 1000) for at in range(MAX_LOSSES + 1))
    run = simulate(a_trace(an_arrival(seconds={"*": 2000}), outages=away))
    assert run.because == {1: f"lost {MAX_LOSSES} times"}


def test_a_slot_that_comes_back_has_nothing_loaded() -> None:
    trace = a_trace(
        an_arrival(1, model="m1"),
        an_arrival(2, at_s=30, model="m1"),
        loads=(M1,),
        outages=(Outage(place=FIRST, from_s=20, until_s=25),),
    )
    assert [span.load_s for span in simulate(trace).spans] == [4, 4]


def test_a_task_that_ends_when_its_slot_goes_away_has_ended() -> None:
    assert spans_of(a_trace(an_arrival(), outages=(Outage(place=FIRST, from_s=10, until_s=11),))) == [(1, 0, 10)]


def test_a_slot_that_comes_back_is_closed_for_the_reason_that_it_had_before() -> None:
    paused = a_place(gate=Gate.PAUSED, gate_reason="for a new card")
    run = simulate(a_trace(places=(paused,), outages=(Outage(place=FIRST, from_s=1, until_s=2),)))
    assert run.places == (paused,)


def test_outages_of_a_slot_may_overlap() -> None:
    away = (Outage(place=FIRST, from_s=0, until_s=5), Outage(place=FIRST, from_s=3, until_s=9))
    assert spans_of(a_trace(an_arrival(), outages=away)) == [(1, 9, 19)]


def test_a_slot_that_never_comes_back_leaves_its_tasks_with_the_reason() -> None:
    run = simulate(a_trace(an_arrival(), outages=(Outage(place=FIRST, from_s=1, until_s=inf),)))
    assert run.unfinished == (1,)
    assert run.because == {1: Rule.SLOTS_CLOSED}


def test_a_gang_loses_all_of_its_slots_with_one() -> None:
    trace = Trace(
        arrivals=(an_arrival(1, gpus=2), an_arrival(2, at_s=1)),
        places=(a_place(FIRST), a_place(SECOND)),
        outages=(Outage(place=SECOND, from_s=5, until_s=6),),
    )
    lost, *rest = simulate(trace).spans
    assert (lost.places, lost.until_s, lost.lost) == ((FIRST, SECOND), 5, True)
    assert sorted(span.task for span in rest) == [1, 2]


def test_a_gang_is_as_fast_as_its_slowest_slot() -> None:
    places = (a_place(FIRST, device_model="fast"), a_place(SECOND, device_model="slow"))
    arrival = an_arrival(gpus=2, seconds={"fast": 3, "slow": 7})
    assert spans_of(Trace(arrivals=(arrival,), places=places)) == [(1, 0, 7)]


def test_tasks_take_longer_on_a_slow_slot() -> None:
    assert spans_of(a_trace(an_arrival(), slowdown={FIRST: 1.5})) == [(1, 0, 15)]


def test_a_paused_queue_is_told_as_the_reason() -> None:
    run = simulate(a_trace(an_arrival(queue="night"), queues={"night": Queue(name="night", paused=True)}))
    assert (run.unfinished, run.because) == ((1,), {1: Rule.QUEUE_PAUSED})


def test_everything_of_one_instant_happens_before_its_one_decision() -> None:
    asked: list[tuple[int, ...]] = []

    def policy(snapshot: Snapshot) -> Decision:
        asked.append(tuple(sorted(task.id for task in snapshot.tasks)))
        return decide(snapshot)

    simulate(a_trace(an_arrival(1), an_arrival(2), an_arrival(3, at_s=10)), policy)
    assert asked == [(1, 2), (2, 3), (3,)]


def test_tenths_of_seconds_meet_where_they_should() -> None:
    tasks = [an_arrival(number, seconds={"*": 0.1}) for number in range(1, 4)]
    late = an_arrival(9, at_s=0.3, seconds={"*": 0.1})
    assert spans_of(a_trace(*tasks, late))[-2:] == [(3, 0.2, 0.3), (9, 0.3, 0.4)]


def test_durations_are_learnt_with_their_loading_as_the_dispatcher_does() -> None:
    run = simulate(a_trace(an_arrival(1, model="m1"), loads=(M1,)))
    assert set(run.history.expected.values()) == {14}


def test_a_task_waits_for_those_that_it_needs_and_its_wait_counts_from_then() -> None:
    asked: list[int] = []

    def policy(snapshot: Snapshot) -> Decision:
        asked.extend((snapshot.now - task.queued_at).seconds for task in snapshot.tasks if task.id == 2)
        return decide(snapshot)

    trace = Trace(arrivals=(an_arrival(1), an_arrival(2, needs=(1,))), places=(a_place(FIRST), a_place(SECOND)))
    assert [(span.task, span.from_s) for span in simulate(trace, policy).spans] == [(1, 0), (2, 10)]
    assert asked == [0]


def test_tasks_that_need_one_that_never_ends_are_left_with_that_reason() -> None:
    run = simulate(a_trace(an_arrival(1, memory=Bytes(99)), an_arrival(2, needs=(1,))))
    assert run.because == {1: Rule.NO_FIT, 2: "needs task 1"}


def test_a_policy_that_waits_is_asked_again() -> None:
    def patient(snapshot: Snapshot) -> Decision:
        waited = max((snapshot.now - task.queued_at).total_seconds() for task in snapshot.tasks)
        if waited < 3:
            return replace(decide(replace(snapshot, places=())), assignments=())
        return decide(snapshot)

    trace = a_trace(an_arrival())
    assert simulate(trace, patient).unfinished == (1,)
    assert simulate(trace, patient, wake_every_s=1).spans[0].from_s == 3


def test_a_policy_that_never_starts_anything_is_given_up_after_a_day() -> None:
    run = simulate(a_trace(an_arrival()), lambda snapshot: decide(replace(snapshot, places=())), wake_every_s=3600)
    assert run.unfinished == (1,)


def test_everything_wrong_with_a_trace_is_told_at_once() -> None:
    trace = Trace(
        arrivals=(an_arrival(1, at_s=5), an_arrival(1, seconds={"other": 1})),
        places=(a_place(), a_place()),
        outages=(Outage(place=SECOND, from_s=0, until_s=1),),
        slowdown={FIRST: 0},
    )
    with pytest.raises(TraceError) as caught:
        simulate(trace)
    for part in ("before task 1", "more than once", "how long task 1 takes on fast", "no slot a/gpu1", "0 times"):
        assert part in caught.value.what


def test_a_night_that_equals_an_earlier_one_is_played_once() -> None:
    calls: list[int] = []

    def policy(snapshot: Snapshot) -> Decision:
        calls.append(1)
        return decide(snapshot)

    night = a_trace(*(an_arrival(number, model="m1") for number in range(1, 21)), loads=(M1,))
    runs = [run for _, run in simulate_nights([night] * 50, policy)]
    assert [run.spans[0].load_s for run in runs[:3]] == [4, 0, 0]
    assert runs[1] is not runs[0]
    assert runs[49] is runs[2]
    assert sum(calls) <= 3 * 20


def test_nights_give_what_they_would_give_if_all_were_played() -> None:
    night = a_trace(*(an_arrival(number, model=f"m{number % 2}") for number in range(1, 8)), loads=(M1, M2))
    places, history = night.places, night.history
    for _, run in simulate_nights([night] * 6):
        assert run == simulate(replace(night, places=places, history=history))
        places, history = run.places, run.history


def test_a_night_with_another_task_is_played() -> None:
    night = a_trace(an_arrival())
    other = a_trace(an_arrival(seconds={"*": 11}))
    assert [run.spans[0].until_s for _, run in simulate_nights([night, night, other])] == [10, 10, 11]


def test_figures_are_those_of_the_window() -> None:
    trace = Trace(
        arrivals=tuple(an_arrival(number, model="m1") for number in range(1, 5)),
        places=(a_place(FIRST), a_place(SECOND)),
        loads=(M1,),
        outages=(Outage(place=SECOND, from_s=9, until_s=inf),),
    )
    summary = summarise(
        trace, simulate(trace), span_s=28, watts={FIRST: Watts(busy=360, idle=36), SECOND: Watts(busy=36, idle=3600)}
    )
    assert (summary.finished, summary.left, summary.makespan_s) == (2, 2, 44)
    assert (summary.loads, summary.swaps, summary.lost_s) == (2, 0, 9)
    assert summary.occupancy == {FIRST: 1, SECOND: 9 / 28}
    assert summary.energy_wh == pytest.approx((28 * 360 + 9 * 36) / 3600)
    assert summary.waits[TaskClass.BATCH].longest == 14
    assert summary.per_hour == pytest.approx(2 * 3600 / 28)


def test_energy_is_unknown_when_one_slot_has_no_watts() -> None:
    trace = a_trace(an_arrival())
    assert summarise(trace, simulate(trace), watts={}).energy_wh is None


# --- hours ----------------------------------------------------------------------------------------------------------

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""
MORNING = make_hours({"daily": ((6 * 60, 7 * 60),)}, zone="UTC")
HOUR = 3600.0


def test_what_does_not_fit_before_closing_is_played_with_the_next_opening() -> None:
    trace = a_trace(
        *(an_arrival(number, seconds={"*": 0.4 * HOUR}) for number in (1, 2, 3)),
        places=(replace(a_place(), hours=MORNING),),
        start=MIDNIGHT,
    )
    day = 24 * HOUR
    assert spans_of(trace) == [
        (1, 6 * HOUR, 6.4 * HOUR),
        (2, 6.4 * HOUR, 6.8 * HOUR),
        (3, day + 6 * HOUR, day + 6.4 * HOUR),
    ]


def test_what_hours_interrupt_is_lost_and_done_again() -> None:
    trace = a_trace(
        an_arrival(1, seconds={"*": 0.7 * HOUR}, at_s=6.5 * HOUR),
        places=(replace(a_place(), hours=replace(MORNING, interrupt=True)),),
        start=MIDNIGHT,
    )
    first, second = simulate(trace).spans
    assert (first.lost, first.until_s, second.from_s) == (True, 7 * HOUR, 30 * HOUR)


def test_models_are_given_up_when_a_slot_closes() -> None:
    trace = a_trace(
        an_arrival(1, model="m1", at_s=6 * HOUR),
        an_arrival(2, model="m1", at_s=30 * HOUR),
        places=(replace(a_place(), hours=MORNING),),
        loads=(M1,),
        start=MIDNIGHT,
    )
    assert [span.load_s for span in simulate(trace).spans] == [4, 4]


def test_a_task_that_no_opening_is_long_enough_for_ends_the_play_and_says_why() -> None:
    trace = a_trace(
        an_arrival(1, seconds={"*": 2 * HOUR}),
        places=(replace(a_place(), hours=MORNING),),
        history=observe(History(), DurationKey("llama", None, "slow"), 2 * HOUR),
        start=MIDNIGHT,
    )
    run = simulate(trace)
    assert (run.unfinished, run.because) == ((1,), {1: Rule.OUTSIDE_HOURS})
