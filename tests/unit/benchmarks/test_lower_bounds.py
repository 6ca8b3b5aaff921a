"""The lower bounds are never above what the best schedule reaches, found on tiny workloads by trying every one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

from benchmarks.policies.bound import Facts as BoundFacts
from benchmarks.policies.bound import longest_wait_bound, makespan_bound, price_choices
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.scheduling.simulator.values import Arrival, Load, Trace
from corral.scheduling.values import ResidentModel, Slot

FAST, SLOW = "fast", "slow"


def a_slot(index: int, device_model: str, resident: str | None) -> Slot:
    held = () if resident is None else (ResidentModel(engine="comfyui", model=resident),)
    return Slot(
        id=f"node/gpu{index}",
        node="node",
        device=f"device-{index}",
        device_model=device_model,
        engines=frozenset({"comfyui"}),
        resident=held,
    )


@st.composite
def tiny_traces(draw: st.DrawFn) -> Trace:
    """Two slots and up to four tasks of two models."""
    slots = tuple(
        a_slot(index, draw(st.sampled_from([FAST, SLOW])), draw(st.sampled_from([None, "a", "b"]))) for index in (0, 1)
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
    return Trace(arrivals=tuple(arrivals), slots=slots, loads=loads)


def every_schedule(trace: Trace) -> Iterator[tuple[float, float]]:
    """Makespan and longest wait of every order of tasks and every choice of slots, each task as early as it can be."""
    for order in permutations(trace.arrivals):
        yield from _placed(trace, order, {slot.id: 0.0 for slot in trace.slots}, _held(trace), 0.0, 0.0)


def _held(trace: Trace) -> dict[str, str | None]:
    return {slot.id: slot.resident[0].model if slot.resident else None for slot in trace.slots}


def _placed(trace, order, free_at, held, makespan, longest) -> Iterator[tuple[float, float]]:
    if not order:
        yield makespan, longest
        return
    task, loads = order[0], {load.model: load.seconds for load in trace.loads}
    choices = [trace.slots] if task.gpus == 2 else [(slot,) for slot in trace.slots]
    for slots in choices:
        start = max(task.at_s, *(free_at[slot.id] for slot in slots))
        load = max(0.0 if held[slot.id] == task.model else loads[task.model] for slot in slots)
        end = start + load + max(task.seconds[slot.device_model] for slot in slots)
        names = [slot.id for slot in slots]
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
    slots = a_slot(0, FAST, "a"), a_slot(1, FAST, "a")
    tasks = tuple(
        Arrival(id=n, at_s=0.0, owner="ada", engine="comfyui", model="a", seconds={FAST: 5.0}) for n in range(1, 8)
    )
    bound = makespan_bound(Trace(arrivals=tasks, slots=slots))
    assert abs(bound.seconds - 20.0) < 1e-5
    assert bound.because == "whole tasks"


def test_a_model_that_is_nowhere_must_be_loaded():
    slots = (a_slot(0, FAST, None),)
    task = Arrival(id=1, at_s=2.0, owner="ada", engine="comfyui", model="a", seconds={FAST: 5.0})
    trace = Trace(arrivals=(task,), slots=slots, loads=(Load(engine="comfyui", model="a", seconds=4.0),))
    assert makespan_bound(trace).seconds == 11.0
