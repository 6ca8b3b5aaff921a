"""The figures of a batch: counts, the estimate, the summary."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from corral.client.progress import BatchProgress, SlotView, TaskProgress, TaskView, to_slot_views
from corral.client.tally import count_states, estimate_remaining_s, find_percentile, format_counts, summarise

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def a_view(id: int = 1, **changes: Any) -> TaskView:
    facts: dict[str, Any] = {"id": id, "name": f"t{id}", "engine": "llama", "inputs": {}, **changes}
    return TaskView(**facts)


def done(id: int, start: float, end: float, slot: str = "n/cpu0", **changes: Any) -> TaskView:
    times = {"started_at": at(start), "finished_at": at(end)}
    return a_view(id, **{"state": "succeeded", "slots": (slot,), **times, **changes})


def test_states_are_counted_in_reading_order_and_leased_counts_as_running() -> None:
    tasks = [a_view(1, state="leased"), a_view(2, state="running"), a_view(3, state="failed"), done(4, 0, 1)]

    assert count_states(tasks) == {"succeeded": 1, "failed": 1, "running": 2}
    assert format_counts(tasks) == "1 succeeded, 1 failed, 2 running"


def test_nothing_is_estimated_before_the_first_task_has_ended() -> None:
    assert estimate_remaining_s([a_view()], {}, slots=1, now=T0) is None


def test_the_work_that_is_left_is_spread_over_the_slots() -> None:
    tasks = [done(1, 0, 10), *(a_view(id) for id in range(2, 6))]

    assert estimate_remaining_s(tasks, {}, slots=1, now=at(10)) == 40
    assert estimate_remaining_s(tasks, {}, slots=2, now=at(10)) == 20
    assert estimate_remaining_s(tasks, {}, slots=100, now=at(10)) == 10


def test_an_engine_without_ended_tasks_is_taken_as_slow_as_the_others() -> None:
    assert estimate_remaining_s([done(1, 0, 10), a_view(2, engine="piper")], {}, slots=1, now=at(10)) == 10


def test_a_running_task_is_judged_by_its_own_progress() -> None:
    tasks = [done(1, 0, 10), a_view(2, state="running", started_at=at(10))]
    progress = {2: TaskProgress(task=2, fraction=0.75)}

    assert estimate_remaining_s(tasks, progress, slots=1, now=at(40)) == 10
    assert estimate_remaining_s(tasks, {}, slots=1, now=at(14)) == 6
    assert estimate_remaining_s(tasks, {}, slots=1, now=at(40)) == 0


def test_nothing_is_left_when_all_have_ended() -> None:
    assert estimate_remaining_s([done(1, 0, 1)], {}, slots=1, now=at(1)) == 0


def test_percentiles_are_values_that_were_measured() -> None:
    assert find_percentile([], 0.5) is None
    assert find_percentile([3], 0.95) == 3
    assert find_percentile(range(1, 101), 0.5) == 50
    assert find_percentile(range(1, 101), 0.95) == 95


@given(values=st.lists(st.floats(0, 1e6), min_size=1), share=st.floats(0, 1))
def test_a_percentile_is_one_of_the_values(values: list[float], share: float) -> None:
    assert find_percentile(values, share) in values


def test_the_summary_measures_engines_slots_and_rate() -> None:
    tasks = [done(1, 0, 10), done(2, 10, 20, "n/cpu1"), done(3, 10, 18, engine="piper")]

    summary = summarise(tasks)

    assert summary.wall_s == 20
    assert summary.tasks_per_hour == 540
    assert [(engine.engine, engine.succeeded, engine.p50_s) for engine in summary.engines] == [
        ("llama", 2, 10),
        ("piper", 1, 8),
    ]
    assert [(slot.slot, slot.tasks, slot.occupancy) for slot in summary.slots] == [
        ("n/cpu0", 2, 0.9),
        ("n/cpu1", 1, 0.5),
    ]


def test_a_batch_that_never_started_has_no_rate() -> None:
    summary = summarise([a_view(1, state="cancelled")])

    assert summary.tasks_per_hour is None
    assert [(engine.succeeded, engine.total) for engine in summary.engines] == [(0, 1)]


def test_a_task_that_ended_is_told_once_and_never_goes_back() -> None:
    batch_progress = BatchProgress()

    assert batch_progress.take([a_view(1, state="running")]) == []
    assert [task.id for task in batch_progress.take([done(1, 0, 1)])] == [1]
    assert batch_progress.take([done(1, 0, 1), a_view(1, state="running")]) == []
    assert batch_progress.done


def test_an_empty_batch_view_is_not_done() -> None:
    assert not BatchProgress().done


def test_slots_that_are_closed_or_busy_with_others_do_not_take_part() -> None:
    batch_progress = BatchProgress()
    batch_progress.take([a_view(1, state="running"), a_view(2)])
    batch_progress.show_slots(
        [SlotView(id="a", task=1), SlotView(id="b"), SlotView(id="c", gate="paused"), SlotView(id="d", task=99)]
    )

    assert batch_progress.count_usable_slots() == 2


def test_slots_of_a_device_are_one_place_for_a_task() -> None:
    def a_slot(engine: str, **changes: Any) -> dict[str, Any]:
        return {
            "id": f"n/gpu0/{engine}",
            "group": "n/gpu0",
            "engine": engine,
            "gate": "open",
            "device_model": "RTX 4090",
        } | changes

    held = {"task": 7, "owner": "ada"}
    running = a_slot("comfyui", running={"task": 7, "owner": "ada"}, held=held)
    answer = {
        "items": [a_slot("llama", held=held), running, {"id": "n/cpu0/piper", "group": "n/cpu0", "gate": "paused"}]
    }

    busy, paused = to_slot_views(answer)

    assert (busy.id, busy.engine, busy.task) == ("n/gpu0", "comfyui", 7)
    assert (paused.id, paused.gate, paused.task) == ("n/cpu0", "paused", None)


def test_each_lane_of_a_slot_is_a_place_for_a_task() -> None:
    tasks = [{"task": 7, "owner": "ada"}, {"task": 8, "owner": "ada"}]
    slot = {"id": "n/gpu0/llama", "group": "n/gpu0", "engine": "llama", "gate": "open", "lanes": 3}
    batch_progress = BatchProgress()
    batch_progress.take([a_view(7, state="running"), a_view(8, state="running"), a_view(9)])

    batch_progress.show_slots(to_slot_views({"items": [{**slot, "running": tasks[0], "tasks": tasks}]}))

    lanes = {id: lane.task for id, lane in batch_progress.slots.items()}
    assert lanes == {"n/gpu0 lane 1": 7, "n/gpu0 lane 2": 8, "n/gpu0 lane 3": None}
    assert batch_progress.count_usable_slots() == 3
