"""Guests in the policy: at once where nothing could be decided otherwise, one choice of several, waits explained."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.hours import DAY_MINUTES, make_hours
from corral.scheduling.backlog import Backlog
from corral.scheduling.explaining import explain_waits
from corral.scheduling.fast_path import find_open_places
from corral.scheduling.place_table import PlaceTable
from corral.scheduling.policy import decide
from corral.scheduling.simulator import simulate
from corral.scheduling.simulator.values import Arrival, Trace
from corral.scheduling.values import Gate, PolicyBounds, Rule, TaskClass
from corral.tasks.dispatch_rules import GuestRules
from doubles.scheduling_strategies import snapshots, snapshots_with_lanes
from doubles.scheduling_values import NOW, a_place, a_queued, a_resident, a_running, a_snapshot, ago, gib


def a_guest(number: int = -1, **changes):
    """A guest of ada for a model, who has come just now."""
    return a_queued(number, **{"model": "m", "task_class": TaskClass.INTERACTIVE, "queued_at": NOW, **changes})


def open_for(guest, *places):
    return [place.id for place in find_open_places(guest, PlaceTable(places))]


def test_guest_starts_at_once_where_its_model_is_in_memory():
    places = a_place("n/gpu0"), a_place("n/gpu1", resident=(a_resident("m", 4),)), a_place("n/gpu2")
    assert open_for(a_guest(memory=gib(4)), *places) == ["n/gpu1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"running": (a_running(),)},
        {"gate": Gate.DRAINING},
        {"engines": frozenset()},
        {"resident": (a_resident("other", 4),)},
        {"hours": make_hours({"daily": ((0, DAY_MINUTES),)}, zone="UTC")},
    ],
    ids=["busy", "drained", "broken", "other model", "hours"],
)
def test_guest_leaves_to_the_policy_a_place_that_is(changes):
    assert open_for(a_guest(memory=gib(4)), a_place(**{"resident": (a_resident("m", 4),), **changes})) == []


def test_guest_stays_away_from_slots_that_failed_it():
    held = (a_resident("m", 4),)
    places = a_place("n/gpu0", resident=held), a_place("n/gpu1", resident=held)
    assert open_for(a_guest(refused_slots=frozenset({"n/gpu0"})), *places) == ["n/gpu1"]


def test_guest_takes_a_lane_where_the_fewest_are_taken_and_its_model_is_in_use():
    def lanes(name, *running, **changes):
        place = {"lanes": {"llama": 4}, "resident": (a_resident("m", 4),), **changes}
        return a_place(name, running=tuple(replace(task, lane=lane) for lane, task in enumerate(running)), **place)

    own = a_running(1, model="m", memory=gib(4))
    assert open_for(a_guest(memory=gib(4)), lanes("n/gpu0", own, own), lanes("n/gpu1", own)) == ["n/gpu1"]
    assert open_for(a_guest(memory=gib(4)), lanes("n/gpu0", own, own, own, own)) == []
    other = lanes("n/gpu0", a_running(1, model="x"), resident=(a_resident("m", 4), a_resident("x", 4)))
    assert open_for(a_guest(memory=gib(4)), other) == []


def test_guest_starts_at_once_only_where_nothing_has_to_be_given_up():
    on_one_card = {"device": "n/GPU-1", "processor": "n/GPU-1", "capacity": gib(24)}
    own = a_place("n/gpu0/llama", resident=(a_resident("m", 10),), **on_one_card)
    beside = a_place("n/gpu0/comfyui", engines=frozenset({"comfyui"}), **on_one_card)

    def with_beside(**changes):
        return open_for(a_guest(memory=gib(10)), own, a_place("n/gpu0/comfyui", **{**vars_of(beside), **changes}))

    assert with_beside() == [own.id]
    assert with_beside(resident=(a_resident("sdxl", 12, "comfyui"),)) == [own.id]
    assert with_beside(resident=(a_resident("sdxl", 16, "comfyui"),)) == []
    busy = a_running(engine="comfyui", memory=gib(20))
    assert with_beside(running=(busy,)) == []
    assert with_beside(running=(a_running(engine="comfyui", memory=None),)) == []  # it computes alone


def vars_of(place):
    return {"engines": place.engines, "device": place.device, "processor": place.processor, "capacity": place.capacity}


@pytest.mark.parametrize(
    ("waiting", "can_precede"),
    [
        ((), False),
        ((a_queued(1),), False),
        ((a_queued(1, task_class=TaskClass.INTERACTIVE),), True),
        ((a_queued(1, queued_at=ago(7200)),), True),
        ((a_queued(1, deadline=7),), True),
        ((a_queued(1, gpus=2),), True),
    ],
    ids=["nothing", "batch", "interactive", "promoted", "deadline", "gathering"],
)
def test_only_what_could_go_first_is_in_the_way_of_a_guest(waiting, can_precede):
    backlog = Backlog(waiting)
    assert backlog.can_precede_guest(NOW, PolicyBounds()) is can_precede
    for task in waiting:
        backlog.remove(task.id)
    assert not backlog.can_precede_guest(NOW, PolicyBounds())


def test_guest_with_several_choices_gets_one_place():
    choices = [a_guest(-number, engine=engine, choice_of=1) for number, engine in ((2, "llama"), (1, "ollama"))]
    places = [a_place("n/gpu0"), a_place("n/gpu1", engines=frozenset({"ollama"})), a_place("n/gpu2")]
    decision = decide(a_snapshot([*choices, a_queued(5)], places))
    assert [assignment.task for assignment in decision.assignments] == [-2, 5]


def test_guest_gets_its_second_choice_where_the_first_is_busy():
    choices = [a_guest(-number, engine=engine, choice_of=1) for number, engine in ((2, "llama"), (1, "ollama"))]
    places = [a_place("n/gpu0", running=(a_running(),)), a_place("n/gpu1", engines=frozenset({"ollama"}))]
    (only,) = decide(a_snapshot(choices, places)).assignments
    assert (only.task, only.places) == (-1, ("n/gpu1",))


def test_waits_of_all_guests_are_estimated_at_once():
    place = a_place(running=(a_running(),))
    guests = [a_guest(-number, queued_at=ago(10 - number), lasts_s=5.0) for number in (1, 2, 3)]
    stranger = a_guest(-4, engine="comfyui")
    explained = explain_waits(a_snapshot([a_queued(9), *guests, stranger], [place]), {-1, -2, -3, -4})
    starts = [(explained[-n].ahead, (explained[-n].may_start_at - NOW).total_seconds()) for n in (1, 2, 3)]
    assert starts == [(0, 60.0), (1, 65.0), (2, 70.0)]
    assert explained[-4].rule is Rule.NO_ENGINE


def test_choice_of_a_guest_that_would_start_elsewhere_keeps_nobody_waiting():
    busy = {
        name: a_place(name, engines=frozenset({engine}), running=(a_running(),))
        for name, engine in (("n/gpu0", "llama"), ("n/gpu1", "ollama"))
    }
    first = [
        a_guest(-number, engine=engine, choice_of=1, queued_at=ago(5), lasts_s=5.0)
        for number, engine in ((2, "llama"), (1, "ollama"))
    ]
    second = a_guest(-3, engine="ollama", lasts_s=5.0)
    explained = explain_waits(a_snapshot([*first, second], list(busy.values())), {-3})
    assert explained[-3].ahead == 0


def test_place_that_a_guest_has_is_explained_without_its_number():
    running = a_running(-7, owner="bob")
    assert str(running) == "a guest of bob"


def test_no_guest_waits_longer_than_its_bound_while_a_night_of_tasks_keeps_the_slots_busy():
    seconds, slots = {"batch": 20.0, "guest": 5.0}, 4
    total_s = (2000 * seconds["batch"] + 200 * seconds["guest"]) / slots
    tasks = [
        Arrival(id=number, owner="bob", engine="llama", at_s=0.0, seconds={"*": seconds["batch"]})
        for number in range(2000)
    ]
    guests = [
        Arrival(
            id=2000 + number,
            owner=f"guest-{number % 7}",
            engine="llama",
            task_class=TaskClass.INTERACTIVE,
            at_s=number * 0.95 * total_s / 200,
            seconds={"*": seconds["guest"]},
        )
        for number in range(200)
    ]
    trace = Trace(arrivals=(*tasks, *guests), places=tuple(a_place(f"n/gpu{number}") for number in range(slots)))
    run = simulate(trace)
    came = {guest.id: guest.at_s for guest in guests}
    waits = [span.from_s - came[span.task] for span in run.spans if span.task in came]
    assert len(waits) == 200
    assert max(waits) <= GuestRules().wait_s
    busy_s = sum(span.until_s - span.from_s for span in run.spans)
    assert busy_s / (slots * max(span.until_s for span in run.spans)) >= 0.98


def closed_now(**changes):
    return make_hours({"daily": ((0, 60),)}, zone="UTC", **changes)


def test_hours_can_bind_tasks_alone():
    guest, task = a_guest(lasts_s=5.0), a_queued(5, queued_at=ago(60))
    for hours, started in ((closed_now(), []), (replace(closed_now(), guests=True), [-1])):
        decision = decide(a_snapshot([guest, task], [a_place("n/gpu0", hours=hours), a_place("n/gpu1", hours=hours)]))
        assert [assignment.task for assignment in decision.assignments] == started


def test_guest_outside_of_hours_learns_when_its_slot_opens():
    (explained,) = explain_waits(a_snapshot([a_guest(lasts_s=5.0)], [a_place(hours=closed_now())]), {-1}).values()
    assert explained.rule is Rule.OUTSIDE_HOURS
    assert "opens at 00:00" in explained.summary
    assert (explained.may_start_at - NOW).total_seconds() == 12 * 3600


@given(st.one_of(snapshots(), snapshots_with_lanes()), st.integers(1, 3))
def test_of_the_choices_of_a_guest_one_starts_at_most(snapshot, guests):
    tasks = tuple(
        replace(task, gpus=1, task_class=TaskClass.INTERACTIVE, choice_of=task.id % guests + 1) if task.id % 2 else task
        for task in snapshot.tasks
    )
    started = [assignment.task for assignment in decide(replace(snapshot, tasks=tasks)).assignments]
    choices = [task.choice_of for task in tasks if task.choice_of is not None and task.id in started]
    assert len(choices) == len(set(choices))
