"""What is given up for a newcomer is what costs least to bring back; a model that a person used stays a while."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.scheduling.explaining import explain
from corral.scheduling.model_use import LONGEST_STAY, SHORTEST_STAY, UNKNOWN_STAY, ModelUses, find_loss, find_stays
from corral.scheduling.policy import decide
from corral.scheduling.simulator import simulate
from corral.scheduling.simulator.values import Load, Trace
from corral.scheduling.values import ModelUse, Place, Rule, Snapshot, TaskClass
from corral.units import Bytes
from doubles import traces
from doubles.chances import MANY
from doubles.scheduling_strategies import snapshots_on_processors
from doubles.scheduling_values import NOW, a_queued, a_resident, a_running, a_snapshot, ago, gib
from doubles.scheduling_values import a_place as a_free_place

WORK = ("llama", "m1")
SECOND = timedelta(seconds=1)


def a_slot(engine: str, size: float | None = None, **changes: object) -> Place:
    """The slot of an engine on a GPU of 24 GiB, with a model of so many GiB in memory."""
    resident = () if size is None else (a_resident(f"{engine}-model", size, engine),)
    return a_free_place(
        f"node/gpu0/{engine}",
        **{
            "device": "node/gpu0",
            "processor": "node/gpu0",
            "engines": frozenset({engine}),
            "resident": resident,
            **changes,
        },
    )


def a_use(**changes: object) -> ModelUse:
    return ModelUse(**{"asked_at": NOW, "asked": 1.0, "load_s": 10.0, **changes})


def a_use_of(*engines: str, **changes: object) -> dict[tuple[str, str], ModelUse]:
    return {(engine, f"{engine}-model"): a_use(**changes) for engine in engines}


def list_given_up(snapshot: Snapshot) -> list[str]:
    return [held.model for given in decide(snapshot).assignments for _, held in given.evict]


PLACES = [a_slot("chat", 9), a_slot("speech", 8), a_slot("llama")]
NEWCOMER = a_queued(1, model="big", memory=gib(10))


# --- what goes ----------------------------------------------------------------------------------------------------


def test_of_two_models_the_one_that_loads_faster_is_given_up() -> None:
    uses = {**a_use_of("chat", load_s=3.0), **a_use_of("speech", load_s=30.0)}
    assert list_given_up(a_snapshot([NEWCOMER], PLACES, uses=uses)) == ["chat-model"]
    uses = {**a_use_of("chat", load_s=30.0), **a_use_of("speech", load_s=3.0)}
    assert list_given_up(a_snapshot([NEWCOMER], PLACES, uses=uses)) == ["speech-model"]


def test_of_two_models_the_one_that_was_asked_for_less_lately_is_given_up() -> None:
    uses = {**a_use_of("chat", asked=5.0), **a_use_of("speech", asked=9.0, asked_at=ago(3_600))}
    assert list_given_up(a_snapshot([NEWCOMER], PLACES, uses=uses)) == ["speech-model"]


def test_model_that_a_waiting_task_needs_next_is_kept_whatever_it_costs() -> None:
    uses = {**a_use_of("chat", load_s=1.0), **a_use_of("speech", load_s=99.0)}
    waiting = a_queued(2, engine="chat", model="chat-model", memory=gib(9), queued_at=ago(1))
    assert list_given_up(a_snapshot([NEWCOMER, waiting], PLACES, uses=uses)) == ["speech-model"]


def test_of_models_of_which_nothing_is_known_the_largest_is_given_up() -> None:
    assert list_given_up(a_snapshot([NEWCOMER], PLACES)) == ["chat-model"]


def test_cheap_model_that_need_not_go_after_all_is_kept() -> None:
    places = [a_slot("chat", 9), a_slot("speech", 1), a_slot("llama")]
    uses = {**a_use_of("chat", load_s=30.0), **a_use_of("speech", load_s=1.0)}
    snapshot = a_snapshot([a_queued(1, model="big", memory=gib(16))], places, uses=uses)
    assert list_given_up(snapshot) == ["chat-model"]


def test_task_goes_where_the_models_that_are_given_up_cost_less() -> None:
    dear, cheap = a_slot("chat", 20), a_slot("speech", 20, device="node/gpu1", processor="node/gpu1")
    here, there = a_slot("llama"), replace(a_slot("llama"), id="node/gpu1/llama", device="node/gpu1")
    there = replace(there, processor="node/gpu1")
    uses = {**a_use_of("chat", load_s=30.0), **a_use_of("speech", load_s=3.0)}
    (given_to,) = decide(a_snapshot([NEWCOMER], [dear, cheap, here, there], uses=uses)).assignments
    assert (given_to.places, given_to.because) == (("node/gpu1/llama",), "cheapest models given up")


def test_model_whose_need_is_unknown_is_loaded_and_measured_with_the_gpu_to_itself() -> None:
    unknown = a_queued(1, model="big")
    assert sorted(list_given_up(a_snapshot([unknown], PLACES))) == ["chat-model", "speech-model"]
    loaded = [*PLACES[:2], a_slot("llama", resident=(a_resident("big", 2),))]
    assert list_given_up(a_snapshot([unknown], loaded)) == []
    nameless = a_queued(1, engine="llama")
    assert list_given_up(a_snapshot([nameless], PLACES)) == []


def test_model_of_unknown_size_makes_room_for_a_load_whether_it_is_in_the_way_or_not() -> None:
    places = [a_slot("chat", resident=(a_resident("mystery", None, "chat"),)), a_slot("speech", 8), a_slot("llama")]
    small = a_queued(1, model="small", memory=gib(1))
    assert list_given_up(a_snapshot([small], places)) == ["mystery"]


def test_two_batches_whose_models_do_not_fit_together_take_turns_of_two_minutes() -> None:
    chat, code = "chat-model", "code-model"
    arrivals = [
        traces.an_arrival(
            number,
            owner=("ada", "bob")[number % 2],
            engine=("chat", "code")[number % 2],
            model=(chat, code)[number % 2],
            memory=gib(14),
            seconds={"*": 10},
        )
        for number in range(1, 81)
    ]
    loads = tuple(Load(engine=name, model=f"{name}-model", seconds=10, memory=gib(14)) for name in ("chat", "code"))
    run = simulate(Trace(arrivals=tuple(arrivals), places=(a_slot("chat"), a_slot("code")), loads=loads))
    count = sum(span.load_s > 0 for span in run.spans)
    assert count <= 2 + 800 / 120, "a load for each turn, and not for each task"
    assert count >= 4, "both go on"


@MANY
@given(snapshots_on_processors())
def test_nothing_is_given_up_that_could_stay(snapshot: Snapshot) -> None:
    """Of one start, no model that was given up for memory would have fitted next to the rest."""
    first = replace(snapshot, tasks=tuple(task for task in snapshot.tasks if task.gpus == 1), most_starts=1)
    for given_to in decide(first).assignments:
        task = next(task for task in first.tasks if task.id == given_to.task)
        place = next(place for place in first.places if place.id == given_to.places[0])
        if task.memory is None or place.capacity is None or task.share == "whole":
            continue
        lost = [(name, held) for name, held in given_to.evict]
        held_bytes = 0
        for other in first.places:
            if other.device == place.device:
                models = {
                    (held.engine, held.model): held.memory or 0
                    for held in other.resident
                    if (other.id, held) not in lost
                }
                for work in (*other.running, *([task] if other is place else [])):
                    key = (work.engine, work.model)
                    models[key] = max(models.get(key, 0), work.memory or 0)
                held_bytes += sum(models.values())
        own = (task.engine, task.model)
        for _, held in lost:
            if (held.engine, held.model) != own and held.memory is not None:
                assert held_bytes + (held.memory or 0) > place.capacity


# --- what stays ---------------------------------------------------------------------------------------------------

STAYS = a_use(stays_until=NOW + 60 * SECOND, idle_until=NOW + 20 * SECOND)
BUSY = a_slot("whisper", running=a_running(7, engine="whisper", memory=gib(1)))
USED = {("chat", "chat-model"): STAYS}
FULL = [a_slot("chat", 20), a_slot("llama"), BUSY]


def test_batch_waits_for_a_model_that_a_person_used_just_now_and_is_told_so() -> None:
    snapshot = a_snapshot([NEWCOMER], FULL, uses=USED)
    decision = decide(snapshot)
    assert dict(decision.waiting) == {1: Rule.MODEL_STAYS}
    assert decision.ask_again_at == NOW + 60 * SECOND
    assert decision.kept_since == {("chat", "chat-model"): NOW}
    explanation = explain(snapshot, 1)
    assert explanation.summary == (
        "chat-model would have to be given up for it, and stays for a person who used it just now, for 1m 00s at most"
    )
    assert explanation.slots["node/gpu0/llama"] == (
        "free, but chat-model stays for a person who used it just now, for 1m 00s at most"
    )


def test_batch_has_the_memory_once_the_stay_is_over() -> None:
    assert list_given_up(a_snapshot([NEWCOMER], FULL, uses=USED, now=NOW + 61 * SECOND)) == ["chat-model"]


def test_other_person_does_not_wait_for_a_model_that_stays() -> None:
    person = replace(NEWCOMER, task_class=TaskClass.INTERACTIVE)
    assert list_given_up(a_snapshot([person], FULL, uses=USED)) == ["chat-model"]


def test_model_stays_only_for_as_long_as_loads_take_where_the_device_would_do_nothing_meanwhile() -> None:
    idle = FULL[:2]
    decision = decide(a_snapshot([NEWCOMER], idle, uses=USED))
    assert (dict(decision.waiting), decision.ask_again_at) == ({1: Rule.MODEL_STAYS}, NOW + 20 * SECOND)
    assert list_given_up(a_snapshot([NEWCOMER], idle, uses=USED, now=NOW + 21 * SECOND)) == ["chat-model"]


def test_batch_that_fits_next_to_a_model_that_stays_takes_the_device_from_one_that_does_not() -> None:
    small = a_queued(2, engine="speech", model="speech-model", memory=gib(3), queued_at=ago(1))
    decision = decide(a_snapshot([NEWCOMER, small], [*FULL[:2], a_slot("speech")], uses=USED))
    assert [given_to.task for given_to in decision.assignments] == [2]
    assert decision.ask_again_at == NOW + 60 * SECOND


def test_model_that_kept_batch_tasks_waiting_for_the_bound_stays_no_longer_however_often_it_is_used() -> None:
    kept = {("chat", "chat-model"): ago(301)}
    assert list_given_up(a_snapshot([NEWCOMER], FULL, uses=USED, kept_since=kept)) == ["chat-model"]
    decision = decide(a_snapshot([NEWCOMER], FULL, uses=USED, kept_since=kept))
    assert decision.kept_since == {}, "what was given up begins anew"


def test_engine_does_not_swap_a_persons_model_for_a_batch_although_both_would_fit() -> None:
    shared = [a_slot("llama", resident=(a_resident("m1", 2),)), BUSY]
    uses = {WORK: STAYS}
    assert dict(decide(a_snapshot([NEWCOMER], shared, uses=uses)).waiting) == {1: Rule.MODEL_STAYS}
    same = replace(NEWCOMER, model="m1", memory=gib(2))
    assert [given_to.task for given_to in decide(a_snapshot([same], shared, uses=uses)).assignments] == [1]


def test_a_batch_in_the_simulator_starts_at_the_end_of_the_stay_although_nothing_happens_then() -> None:
    places = tuple(replace(place, running=()) for place in (a_slot("chat"), a_slot("llama")))
    person = traces.an_arrival(
        1, engine="chat", model="chat-model", memory=gib(20), task_class=TaskClass.INTERACTIVE, seconds={"*": 5}
    )
    batch = traces.an_arrival(2, model="big", memory=gib(10), at_s=8)
    loads = (Load(engine="chat", model="chat-model", seconds=6, memory=gib(20)),)
    run = simulate(Trace(arrivals=(person, batch), places=places, loads=loads))
    # It ends at 11 s; nothing was measured: 20 GiB load in 20 s at the assumed speed, and could be saved twice.
    assert [span.from_s for span in run.spans] == [0, 51]


# --- what is learnt -----------------------------------------------------------------------------------------------


def use(
    uses: ModelUses, at: datetime, seconds: float = 1.0, task_class: TaskClass = TaskClass.INTERACTIVE, **how: bool
):
    uses.begin(WORK, task_class, at)
    uses.end(WORK, task_class, at + seconds * SECOND, seconds=seconds, loaded=how.get("loaded", False))


def test_load_is_the_difference_between_attempts_with_and_without_one() -> None:
    uses = ModelUses()
    for number, (seconds, loaded) in enumerate([(14.0, True), (4.0, False), (5.0, False), (6.0, False)]):
        use(uses, NOW + number * 60 * SECOND, seconds, loaded=loaded)
    assert uses[WORK].load_s == 9.0


def test_what_was_not_measured_is_guessed_from_the_size() -> None:
    assert find_loss(a_use(load_s=None), Bytes(8 * 2**30), NOW) == 8.0
    assert find_loss(a_use(load_s=None, asked=2.0), None, NOW) == 20.0
    assert find_loss(a_use(asked_at=ago(1_800)), None, NOW) == 5.0


@pytest.mark.parametrize(
    ("gaps", "stay"),
    [
        ([40.0] * 2, UNKNOWN_STAY),
        ([40.0] * 9 + [100.0], timedelta(seconds=40)),
        ([40.0] * 8 + [100.0] * 2, timedelta(seconds=100)),
        ([1.0] * 5, SHORTEST_STAY),
        ([40.0] * 5 + [3_600.0], timedelta(seconds=40)),
        ([599.0] * 5, timedelta(seconds=599)),
    ],
)
def test_model_stays_for_most_gaps_between_a_persons_requests_within_bounds(gaps: list[float], stay: timedelta) -> None:
    uses, at = ModelUses(), NOW
    use(uses, at)
    for gap in gaps:
        at += (gap + 1.0) * SECOND
        use(uses, at)
    assert uses[WORK].stays_until == at + SECOND + stay
    assert stay <= LONGEST_STAY


@pytest.mark.parametrize(
    ("gaps", "load_s", "stay_s"),
    [
        ([], 9.0, 18.0),
        ([20.0] * 4, 9.0, 20.0),
        ([20.0] * 4, 3.0, 0.0),
        ([5.0, 5.0, 5.0, 300.0], 9.0, 5.0),
        ([5.0] * 9 + [40.0], 30.0, 40.0),
        ([3_600.0] * 5 + [300.0] * 3, 9.0, 0.0),
    ],
)
def test_on_an_idle_device_a_model_stays_for_gaps_that_are_worth_their_loads(
    gaps: list[float], load_s: float, stay_s: float
) -> None:
    assert find_stays(gaps, load_s)[1] == timedelta(seconds=stay_s)


@given(gaps=st.lists(st.integers(0, 900).map(float), min_size=3, max_size=15), load_s=st.integers(0, 200).map(float))
def test_no_other_gap_would_be_worth_more(gaps: list[float], load_s: float) -> None:
    def rate(stay_s: float) -> float:  # three loads: those of two models, and a person's wait for one
        return sum((3 * load_s if gap <= stay_s else 0.0) - min(gap, stay_s) for gap in gaps)

    within = [gap for gap in gaps if gap <= LONGEST_STAY.total_seconds()]
    if len(within) >= 3:
        assert rate(find_stays(gaps, load_s)[1].total_seconds()) == max(map(rate, (0.0, *within)))


def test_batch_makes_no_model_stay() -> None:
    uses = ModelUses()
    use(uses, NOW, task_class=TaskClass.BATCH)
    assert uses[WORK].stays_until is None
