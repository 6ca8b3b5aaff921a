"""The peers on one GPU do what the page on policies says of them, and nobody's models exceed its memory."""

from __future__ import annotations

import pytest
from benchmarks.policies.one_gpu import (
    CAPACITY,
    CHAT,
    CODE,
    MODELS,
    PICTURE,
    SMALL_CHAT,
    SPEECH,
    FifoOnOneGpu,
    Model,
    OneBackend,
    one_gpu,
    share,
    swap_by_matrix,
)
from benchmarks.policies.tables import ON_ONE_GPU, Contender

from corral.scheduling.simulator import simulate
from corral.scheduling.simulator.values import Arrival, Policy, Run, Trace
from corral.units import Bytes

EMPTY = share(one_gpu(0.01))
SIZES = {model.name: Bytes(round(model.gib * 2**30)) for model in MODELS}


def a_task(number: int, model: Model, at_s: float = 0.0, seconds: float = 10.0) -> Arrival:
    return Arrival(
        id=number,
        at_s=at_s,
        owner="ada",
        engine=model.engine,
        model=model.name,
        memory=SIZES[model.name],
        seconds={"*": seconds},
    )


def play(policy: Policy, *tasks: Arrival) -> Run:
    in_order = tuple(sorted(tasks, key=lambda task: task.at_s))
    return simulate(Trace(arrivals=in_order, places=EMPTY.places, loads=EMPTY.loads), policy)


def list_starts(run: Run) -> list[int]:
    return [span.task for span in run.spans]


def list_loads(run: Run) -> list[int]:
    return [span.task for span in run.spans if span.load_s]


@pytest.mark.parametrize("contender", ON_ONE_GPU, ids=lambda contender: contender.name)
def test_tasks_that_compute_at_the_same_time_fit_into_the_memory(contender: Contender) -> None:
    trace = one_gpu(0.1)
    needs = {arrival.id: arrival.memory or 0 for arrival in trace.arrivals}
    spans = contender.run(trace).spans
    for begun in spans:
        together = [span.task for span in spans if span.from_s <= begun.from_s < span.until_s]
        assert sum(needs[task] for task in together) <= CAPACITY


def test_fifo_does_one_task_at_a_time_and_gives_up_what_was_used_longest_ago() -> None:
    tasks = [a_task(1, CHAT), a_task(2, SMALL_CHAT, 1.0), a_task(3, CODE, 2.0), a_task(4, SMALL_CHAT, 3.0)]
    run = play(FifoOnOneGpu(), *tasks, a_task(5, CHAT, 4.0))
    assert list_starts(run) == [1, 2, 3, 4, 5]
    assert all(before.until_s <= after.from_s for before, after in zip(run.spans, run.spans[1:], strict=False))
    assert list_loads(run) == [1, 2, 3, 5], "the chat went for the code, the small chat stayed"


def test_llama_swap_starts_what_is_loaded_next_to_what_computes_and_swaps_within_its_matrix() -> None:
    run = play(swap_by_matrix, a_task(1, CHAT), a_task(2, SPEECH), a_task(3, PICTURE))
    assert {span.from_s for span in run.spans} == {0.0}, "one set has all three"
    run = play(swap_by_matrix, a_task(1, CHAT), a_task(2, CODE, 1.0), a_task(3, CHAT, 60.0))
    starts = {span.task: span.from_s for span in run.spans}
    assert starts[2] == run.spans[0].until_s, "no set has chat and code: the swap waits for the chat"
    assert list_loads(run) == [1, 2, 3]


def test_llama_swap_lets_a_stream_to_a_loaded_model_keep_a_swap_waiting() -> None:
    stream = [a_task(number, CHAT, (number - 1) * 5.0) for number in range(1, 41)]
    run = play(swap_by_matrix, *stream, a_task(99, CODE, 1.0))
    assert list_starts(run)[-1] == 99


def test_swarmui_goes_on_with_the_loaded_model_and_then_loads_what_is_under_most_pressure() -> None:
    stream = [a_task(number, PICTURE) for number in range(1, 6)]
    others = [a_task(6, CHAT, 1.0), a_task(7, SPEECH, 2.0), a_task(8, SPEECH, 2.0)]
    run = play(OneBackend(), *stream, *others)
    assert list_starts(run) == [1, 2, 3, 4, 5, 7, 8, 6]
    assert list_loads(run) == [1, 7, 6], "one model at a time, although speech and chat would fit together"
