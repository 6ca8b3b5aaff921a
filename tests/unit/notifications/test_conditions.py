"""A condition is reported once when it lasts, and again only after it has been gone for a while."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from corral.cluster.receivers import Occasion
from corral.notifications.conditions import Condition, ConditionWatch, list_conditions
from corral.slots.device_use import DeviceUse
from corral.slots.slot_state import NOT_CHECKED
from corral.tasks.alarms import Alarm
from doubles.slots_shown import a_place_view

LOW = Condition(name="disk", occasion=Occasion.DISK_LOW, data={})


def test_what_lasts_is_reported_once() -> None:
    watch = ConditionWatch(set(), begins_after_s=20, ends_after_s=60)
    assert watch.find_begun((LOW,), now=0) == ()
    assert watch.find_begun((LOW,), now=19) == ()
    assert watch.find_begun((LOW,), now=20) == (LOW,)
    watch.note_reported("disk")
    assert watch.find_begun((LOW,), now=1000) == ()


def test_what_comes_and_goes_is_not_reported() -> None:
    watch = ConditionWatch(set(), begins_after_s=20, ends_after_s=60)
    for now in range(0, 100, 10):
        present = (LOW,) if now % 20 else ()
        assert watch.find_begun(present, now=now) == ()
        assert watch.find_ended({condition.name for condition in present}, now=now) == ()


def test_what_is_gone_for_long_can_be_reported_anew() -> None:
    watch = ConditionWatch({"disk"}, begins_after_s=20, ends_after_s=60)
    assert watch.find_ended((), now=0) == ()
    assert watch.find_ended({"disk"}, now=30) == ()
    watch.find_begun((LOW,), now=30)  # it is back, so its end begins anew
    assert watch.find_ended((), now=40) == ()
    assert watch.find_ended((), now=99) == ()
    assert watch.find_ended((), now=100) == ("disk",)
    watch.note_ended("disk")
    watch.find_begun((LOW,), now=200)
    assert watch.find_begun((LOW,), now=220) == (LOW,)


def test_alarms_and_slots_are_looked_at_and_a_slot_that_was_never_checked_is_not_closed() -> None:
    full = Alarm(name="disk", what="9.0 MiB free", hint="free some", since=datetime.now(UTC))
    other = Alarm(name="retention", what="nothing was collected", hint=None, since=datetime.now(UTC))
    broken = a_place_view("comfyui", device="desk/gpu0", problems={"comfyui": "no answer within 10 s"})
    new = a_place_view("llama", device="desk/gpu1", problems={"llama": NOT_CHECKED})
    conditions = [*list_conditions((full, other), (broken, new))]
    assert [(condition.name, condition.occasion) for condition in conditions] == [
        ("disk", Occasion.DISK_LOW),
        ("slot/desk/gpu0/comfyui", Occasion.SLOT_CLOSED),
    ]
    assert conditions[1].data == {"slot": "desk/gpu0/comfyui", "reason": "no answer within 10 s"}


def test_a_gpu_that_does_not_answer_closes_its_slots_with_one_condition() -> None:
    place = replace(
        a_place_view("comfyui", "llama", problems={"llama": "no answer"}), use=DeviceUse(problem="it fell off the bus")
    )
    (condition,) = list_conditions((), (place,))
    assert (condition.name, condition.occasion) == ("slot/node/gpu0", Occasion.SLOT_CLOSED)
    assert condition.data["reason"] == "the GPU cannot be used: it fell off the bus"
