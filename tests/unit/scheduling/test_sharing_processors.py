"""Tasks that compute on one processor at the same time: how long they take, and what their owners are charged."""

from __future__ import annotations

import pytest

from corral.scheduling.explaining import explain
from corral.scheduling.policy import decide
from corral.scheduling.processor_time import ProcessorTime
from corral.scheduling.simulator import simulate
from corral.scheduling.simulator.values import Load, Trace
from corral.scheduling.values import (
    FairShare,
    Place,
    ResidentModel,
    Rule,
    Share,
)
from corral.units import Bytes
from doubles import traces
from doubles.scheduling_values import a_place as a_free_place
from doubles.scheduling_values import a_queued, a_resident, a_running, a_snapshot, gib, placed


def a_place(engine: str, device: str = "node/gpu0", **changes: object) -> Place:
    """The slot of an engine on a GPU of 24 GiB."""
    return a_free_place(
        f"{device}/{engine}",
        **{
            "device": device,
            "processor": device,
            "engines": frozenset({engine}),
            "names": {engine: f"{device}/{engine}"},
            **changes,
        },
    )


CHAT, SPEECH = a_place("llama"), a_place("whisper")


# --- who shares ---------------------------------------------------------------------------------------------------


def test_what_fits_together_runs_together() -> None:
    tasks = [a_queued(1, memory=gib(14)), a_queued(2, engine="whisper", memory=gib(10))]
    assert placed(decide(a_snapshot(tasks, [CHAT, SPEECH]))) == {1: (CHAT.id,), 2: (SPEECH.id,)}


def test_what_does_not_fit_next_to_a_task_waits_for_it() -> None:
    busy = a_place("llama", running=a_running(memory=gib(16)))
    snapshot = a_snapshot([a_queued(2, engine="whisper", memory=gib(10))], [busy, SPEECH])
    assert decide(snapshot).waiting == {2: Rule.SLOTS_BUSY}
    assert explain(snapshot, 2).slots[SPEECH.id] == "needs 10.0 GiB, busy slots of the device leave 8.0 GiB"


@pytest.mark.parametrize(
    ("need", "reason"),
    [
        ({"memory": None}, "free, but it computes alone as long as the memory it needs is unknown"),
        ({"memory": gib(1), "share": Share.ALONE}, "free, but it computes alone"),
    ],
)
def test_task_that_computes_alone_waits_for_what_computes_and_is_told_why(need: dict, reason: str) -> None:
    busy = a_place("llama", running=a_running(7, memory=gib(1)))
    snapshot = a_snapshot([a_queued(2, engine="whisper", **need)], [busy, SPEECH])
    explanation = explain(snapshot, 2)
    assert explanation.rule is Rule.SLOTS_BUSY
    running = "node/gpu0/llama runs task 7 of bob, expected to end in 1m 00s"
    assert explanation.slots[SPEECH.id] == f"{reason}: {running}"
    assert explanation.may_start_at == busy.running[0].expected_end


def test_nothing_starts_next_to_a_task_that_computes_alone() -> None:
    busy = a_place("comfyui", running=a_running(7, engine="comfyui", memory=gib(8)), exclusive=frozenset({"comfyui"}))
    snapshot = a_snapshot([a_queued(2, memory=gib(1))], [busy, CHAT])
    explanation = explain(snapshot, 2)
    assert explanation.rule is Rule.SLOTS_BUSY
    assert explanation.slots[CHAT.id] == ("node/gpu0/comfyui computes alone: task 7 of bob, expected to end in 1m 00s")
    assert explanation.may_start_at == busy.running[0].expected_end


def test_task_on_a_device_of_unknown_memory_computes_alone() -> None:
    places = [a_place("llama", capacity=None), a_place("whisper", capacity=None)]
    tasks = [a_queued(1, memory=gib(1)), a_queued(2, engine="whisper", memory=gib(1))]
    assert placed(decide(a_snapshot(tasks, places))) == {1: (places[0].id,)}


def test_task_that_wants_the_whole_device_gives_up_even_models_of_unknown_size() -> None:
    chat = a_place("llama", resident=(a_resident("m1", 8),))
    picture = a_place("comfyui", resident=(ResidentModel(engine="comfyui", model="sdxl"),))
    task = a_queued(1, engine="whisper", share=Share.WHOLE)
    (assignment,) = decide(a_snapshot([task], [chat, picture, SPEECH])).assignments
    assert {(place, held.model) for place, held in assignment.evict} == {(chat.id, "m1"), (picture.id, "sdxl")}


def test_of_two_gpus_the_one_that_computes_nothing_is_taken() -> None:
    busy = [a_place("llama", "node/gpu0"), a_place("whisper", "node/gpu0", running=a_running(memory=gib(1)))]
    idle = [a_place("llama", "node/gpu1"), a_place("whisper", "node/gpu1")]
    (assignment,) = decide(a_snapshot([a_queued(1, memory=gib(1))], [*busy, *idle])).assignments
    assert (assignment.places, assignment.because) == (("node/gpu1/llama",), "least work next to it")


# --- how long it takes --------------------------------------------------------------------------------------------


def a_trace(*arrivals: object, loads: tuple[Load, ...] = ()) -> Trace:
    return Trace(arrivals=arrivals, places=(CHAT, SPEECH), loads=loads)


def an_arrival(number: int, engine: str, **changes: object) -> object:
    return traces.an_arrival(number, engine=engine, memory=Bytes(1), **changes)


def test_two_tasks_on_one_processor_take_turns() -> None:
    run = simulate(a_trace(an_arrival(1, "llama"), an_arrival(2, "whisper", seconds={"*": 30})))
    assert [(span.task, span.from_s, span.until_s) for span in run.spans] == [(1, 0, 20), (2, 0, 40)]


def test_task_that_joins_slows_the_rest_of_another_alone() -> None:
    run = simulate(a_trace(an_arrival(1, "llama"), an_arrival(2, "whisper", at_s=6, seconds={"*": 2})))
    assert [(span.task, span.from_s, span.until_s) for span in run.spans] == [(1, 0, 12), (2, 6, 10)]


def test_loading_is_not_slowed() -> None:
    arrivals = an_arrival(1, "llama", model="m1"), an_arrival(2, "whisper", seconds={"*": 2})
    run = simulate(a_trace(*arrivals, loads=(Load(engine="llama", model="m1", seconds=8),)))
    assert [(span.task, span.until_s, span.load_s) for span in run.spans] == [(1, 18, 8), (2, 4, 0)]


# --- what it costs ------------------------------------------------------------------------------------------------


def test_seconds_of_a_processor_are_divided_among_what_computes() -> None:
    time = ProcessorTime()
    time.begin(1, ["gpu0", None], 10.0)
    time.begin(2, ["gpu0"], 20.0)
    assert time.end(1, 30.0) == [15.0]
    assert time.end(2, 34.0) == [9.0]
    assert time.end(2, 40.0) == []


def test_owner_is_charged_what_the_task_had_of_the_processor() -> None:
    charged: list[FairShare] = []

    def remember(snapshot):
        charged.append(snapshot.fair)
        return decide(snapshot)

    arrivals = [
        an_arrival(1, "llama", owner="ada", seconds={"*": 100}),
        an_arrival(2, "whisper", owner="bob", seconds={"*": 100}),
        an_arrival(3, "llama", owner="ada", at_s=1),
        an_arrival(4, "whisper", owner="bob", at_s=1),
        an_arrival(5, "llama", owner="eve", at_s=201),
    ]
    simulate(a_trace(*arrivals), remember)
    # Both ran for 200 s, side by side: each had the processor for 100 of them.
    assert charged[-1].charged == {"ada": pytest.approx(110), "bob": pytest.approx(110)}


def test_task_that_ended_takes_no_part_of_what_comes_after() -> None:
    time = ProcessorTime()
    time.begin(1, ["gpu0"], 0.0)
    time.end(1, 10.0)
    time.begin(2, ["gpu0"], 20.0)
    assert time.end(2, 120.0) == [100.0]
