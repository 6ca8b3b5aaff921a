"""The lower bounds are never above what the best schedule reaches, found on tiny workloads by trying every one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

from benchmarks.policies.bound import Facts as BoundFacts
from benchmarks.policies.bound import longest_wait_bound, makespan_bound, price_choices
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.scheduling.simulator.values import Arrival, Load, Trace
from corral.scheduling.values import Place, ResidentModel

FAST, SLOW = "fast", "slow"


def a_place(index: int, device_model: str, resident: str | None) -> Place:
    held = () if resident is None else (ResidentModel(engine="comfyui", model=resident),)
    return Place(
        id=f"node/gpu{index}",
        node="node",
        device=f"device-{index}",
        device_model=device_model,
        engines=frozenset({"comfyui"}),
        resident=held,
    )


@st.composite
def tiny_traces(draw: st.DrawFn) -> Trace:
    """Two places and up to four tasks of two models."""
    places = tuple(
        a_place(index, draw(st.sampled_from([FAST, SLOW])), draw(st.sampled_from([None, "a", "b"]))) for index in (0, 1)
    )
    arrivals: list[Arrival] = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        fast = draw(st.integers(1, 9))
        arrivals.append(
            Arrival(
                id=number,
                at_s=float(draw(st.sampled_from([0, 0, 3, 10]))),
                owner="ada",
                engine="comfyui",
                model=draw(st.sampled_from(["a", "b"])),
                gpus=draw(st.sampled_from([1, 1, 1, 2])),
                seconds={FAST: float(fast), SLOW: float(fast + draw(st.integers(0, 9)))},
            )
        )
    arrivals.sort(key=lambda arrival: arrival.at_s)
    loads = tuple(Load(engine="comfyui", model=model, seconds=float(draw(st.integers(0, 6)))) for model in "ab")
    return Trace(arrivals=tuple(arrivals), places=places, loads=loads)


def every_schedule(trace: Trace) -> Iterator[tuple[float, float]]:
    """Makespan and longest wait of every order of tasks and every choice of places, each task as early as it can be."""
    for order in permutations(trace.arrivals):
        yield from _placed(trace, order, {place.id: 0.0 for place in trace.places}, _held(trace), 0.0, 0.0)


def _held(trace: Trace) -> dict[str, str | None]:
    return {place.id: place.resident[0].model if place.resident else None for place in trace.places}


def _placed(trace, order, free_at, held, makespan, longest) -> Iterator[tuple[float, float]]:
    if not order:
        yield makespan, longest
        return
    task, loads = order[0], {load.model: load.seconds for load in trace.loads}
    choices = [trace.places] if task.gpus == 2 else [(place,) for place in trace.places]
    for places in choices:
        start = max(task.at_s, *(free_at[place.id] for place in places))
        load = max(0.0 if held[place.id] == task.model else loads[task.model] for place in places)
        end = start + load + max(task.seconds[place.device_model] for place in places)
        names = [place.id for place in places]
        yield from _placed(
            trace,
            order[1:],
            {**free_at, **dict.fromkeys(names, end)},
            {**held, **dict.fromkeys(names, task.model)},
            max(makespan, end),
            max(longest, start - task.at_s),
        )


@settings(max_examples=150)
@given(tiny_traces())
def test_no_schedule_is_below_the_bounds(trace):
    schedules = list(every_schedule(trace))
    assert makespan_bound(trace).seconds <= min(makespan for makespan, _ in schedules) + 1e-6
    assert longest_wait_bound(trace) <= min(longest for _, longest in schedules) + 1e-6


@settings(max_examples=50)
@given(tiny_traces())
def test_prices_are_shares_of_one(trace):
    for price in price_choices(BoundFacts(trace), trace.arrivals):
        assert abs(sum(price.values()) - 1) < 1e-9
        assert min(price.values()) >= 0


def test_the_bound_is_reached_where_equal_tasks_fill_equal_slots():
    places = a_place(0, FAST, "a"), a_place(1, FAST, "a")
    tasks = tuple(
        Arrival(id=n, at_s=0.0, owner="ada", engine="comfyui", model="a", seconds={FAST: 5.0}) for n in range(1, 8)
    )
    bound = makespan_bound(Trace(arrivals=tasks, places=places))
    assert abs(bound.seconds - 20.0) < 1e-5
    assert bound.because == "whole tasks"


def test_a_model_that_is_nowhere_must_be_loaded():
    places = (a_place(0, FAST, None),)
    task = Arrival(id=1, at_s=2.0, owner="ada", engine="comfyui", model="a", seconds={FAST: 5.0})
    trace = Trace(arrivals=(task,), places=places, loads=(Load(engine="comfyui", model="a", seconds=4.0),))
    assert makespan_bound(trace).seconds == 11.0
