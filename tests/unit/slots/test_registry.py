"""Slots come, change and go while a server runs; what is held stays as it is until its hold ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from corral.scheduling.values import Gate, RunningTask
from corral.slots.closing import close_engines
from corral.slots.holds import SlotHeldError
from corral.slots.registry import Registry
from corral.slots.values import DeviceSpec, Difference, Hold, HoldKind, SlotSpec, Wanted
from corral.units import Bytes
from corral.work import SlotId
from doubles.engines import ScriptedEngine

GPU0, GPU1 = SlotId("node/gpu0"), SlotId("node/gpu1")
NOW = datetime(2026, 7, 1, tzinfo=UTC)
PROGRAM = Hold(kind=HoldKind.PROGRAM, owner="ada", label="train.py", since=NOW)
TASK = Hold(
    kind=HoldKind.TASK,
    owner="ada",
    label="task 12",
    since=NOW,
    task=RunningTask(
        task=12,
        owner="ada",
        queue="default",
        engine="llama",
        model="m",
        memory=None,
        started_at=NOW,
        expected_end=None,
    ),
)


class ClosingEngine(ScriptedEngine):
    """Keeps whether it was closed."""

    closed = False

    async def close(self) -> None:
        self.closed = True


def a_device(name: SlotId = GPU0, *, memory: int | None = None, provider: str | None = None) -> DeviceSpec:
    return DeviceSpec(
        name=name,
        node="node",
        provider=provider or name,
        model="RTX 5070 Ti",
        memory=None if memory is None else Bytes(memory),
    )


def a_slot(
    engine: str = "llama",
    *,
    device: SlotId = GPU0,
    place: SlotId | None = None,
    url: str = "http://a",
    made: ScriptedEngine | None = None,
) -> SlotSpec:
    return SlotSpec(
        id=SlotId(f"{device}/{engine}"),
        device=device,
        place=place or device,
        engine=engine,
        settings={"url": url},
        make=lambda: made or ScriptedEngine(name=engine),
    )


def wanted(*slots: SlotSpec, devices: tuple[DeviceSpec, ...] = ()) -> Wanted:
    names = {slot.device for slot in slots} - {device.name for device in devices}
    return Wanted(devices=(*devices, *(a_device(name) for name in sorted(names))), slots=slots)


def change(registry: Registry, now_wanted: Wanted) -> None:
    registry.apply(registry.compare(now_wanted))


@asynccontextmanager
async def watching(registry: Registry) -> AsyncIterator[asyncio.Event]:
    """Check the engines while the context lasts; the event is set when the policy's view changed."""
    changed = asyncio.Event()
    watcher = asyncio.create_task(registry.watch(lambda _: changed.set(), time.monotonic))
    try:
        yield changed
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


def test_difference_says_what_comes_changes_and_goes() -> None:
    registry = Registry(wanted(a_slot("llama"), a_slot("whisper"), devices=(a_device(memory=8),)))
    after = wanted(
        a_slot("llama", url="http://b"), a_slot("comfyui", device=GPU1), devices=(a_device(memory=16), a_device(GPU1))
    )
    difference = registry.compare(after)
    assert [slot.id for slot in difference.added] == ["node/gpu1/comfyui"]
    assert [(change.before.id, change.what) for change in difference.changed] == [
        ("node/gpu0/llama", ("url: http://a -> http://b",))
    ]
    assert [slot.id for slot in difference.removed] == ["node/gpu0/whisper"]
    assert [(change.after.name, change.what) for change in difference.devices] == [
        ("node/gpu0", ("memory: 8 B -> 16 B",))
    ]
    assert not difference.held


def test_difference_names_what_holds_the_slots_that_change_or_go() -> None:
    registry = Registry(wanted(a_slot("llama"), a_slot("llama", device=GPU1)))
    registry[GPU0].hold(TASK)
    difference = registry.compare(wanted())
    assert difference.held == {"node/gpu0/llama": "task 12 of ada"}
    assert len(difference.removed) == 2


def test_what_waits_for_a_hold_since_an_earlier_change_is_listed_until_that_ends() -> None:
    before = wanted(a_slot("llama"), a_slot("whisper"), devices=(a_device(memory=8),))
    after = wanted(a_slot("llama", url="http://b"), devices=(a_device(memory=16),))
    registry = Registry(before)
    registry[GPU0].hold(TASK)
    assert registry.compare(after).pending == ()
    change(registry, after)
    assert [(pending.name, pending.what, pending.hold) for pending in registry.compare(after).pending] == [
        ("node/gpu0/llama", ("url: http://a -> http://b",), "task 12 of ada"),
        ("node/gpu0/whisper", (), "task 12 of ada"),
        ("node/gpu0", ("memory: 8 B -> 16 B",), "task 12 of ada"),
    ]
    assert registry.compare(before).pending == (), "what is wanted again as it is has nothing to wait for"
    registry.release([registry[GPU0]], TASK)
    assert registry.compare(after).pending == ()


def test_what_waits_and_changes_once_more_is_listed_once() -> None:
    registry = Registry(wanted(a_slot()))
    registry[GPU0].hold(TASK)
    change(registry, wanted(a_slot(url="http://b")))
    difference = registry.compare(wanted(a_slot(url="http://c")))
    assert [edit.what for edit in difference.changed] == [("url: http://b -> http://c",)]
    assert difference.pending == ()


def test_slot_under_a_new_name_stays_closed_while_a_hold_has_it_under_its_old_one() -> None:
    registry = Registry(wanted(a_slot("comfyui")))
    registry[GPU0].hold(TASK)
    change(registry, wanted(a_slot("comfyui", device=GPU1), a_slot("llama", device=GPU1, url="http://b")))
    assert registry[GPU1].to_place().gate_reason == "held under its old name by task 12 of ada"
    assert not registry[GPU1].is_free


async def test_slot_under_a_new_name_opens_when_the_hold_on_its_old_one_has_ended() -> None:
    registry = Registry(wanted(a_slot("comfyui")))
    place = registry[GPU0]
    place.hold(TASK)
    change(registry, wanted(a_slot("comfyui", device=GPU1)))
    registry.release([place], TASK)
    async with watching(registry) as changed, asyncio.timeout(5):
        while not registry[GPU1].is_free:
            changed.clear()
            await changed.wait()


def test_slot_next_to_one_that_leaves_takes_tasks() -> None:
    registry = Registry(wanted(a_slot("comfyui")))
    registry[GPU0].hold(TASK)
    change(registry, wanted(a_slot("comfyui", device=GPU1, url="http://b")))
    assert registry[GPU1].is_free


def test_new_group_of_a_known_gpu_does_not_count_our_models_as_foreign() -> None:
    before, after = (replace(a_device(memory=24), foreign=Bytes(size)) for size in (2, 14))
    registry = Registry(wanted(a_slot("llama"), devices=(before,)))
    second = a_slot("comfyui", place=SlotId("node/gpu0/comfyui/b"))
    change(registry, wanted(a_slot("llama"), second, devices=(after,)))
    assert {place.device.capacity for place in registry} == {22}


def test_device_that_waits_for_a_hold_is_named_with_it() -> None:
    registry = Registry(wanted(a_slot(), devices=(a_device(memory=8),)))
    registry[GPU0].hold(TASK)
    assert registry.compare(wanted(a_slot(), devices=(a_device(memory=16),))).held == {GPU0: "task 12 of ada"}


def test_comparing_changes_nothing() -> None:
    registry = Registry(wanted(a_slot()))
    registry.compare(wanted())
    assert [place.id for place in registry] == [GPU0]
    assert registry.compare(wanted(a_slot())) == Difference(wanted=wanted(a_slot()))


def test_added_slot_is_used_once_its_check_shows_that_it_works() -> None:
    async def scenario() -> None:
        registry = Registry(wanted(a_slot()))
        change(registry, wanted(a_slot(), a_slot("whisper")))
        assert registry[GPU0].to_place().engine_problems["whisper"] == "not checked yet"
        async with watching(registry) as changed, asyncio.timeout(5):
            while registry[GPU0].to_place().engines != {"llama", "whisper"}:
                changed.clear()
                await changed.wait()

    asyncio.run(scenario())


def test_idle_group_leaves_at_once_and_its_engine_is_closed() -> None:
    engine = ClosingEngine(name="llama")
    registry = Registry(wanted(a_slot(made=engine)))
    change(registry, wanted())
    assert len(registry) == 0
    asyncio.run(registry.close())
    assert engine.closed


async def test_engine_that_never_closes_keeps_no_other_from_it_and_is_given_up_at_the_deadline() -> None:
    class HangingEngine(ScriptedEngine):
        async def close(self) -> None:
            await asyncio.Event().wait()

    after = ClosingEngine(name="whisper")
    async with asyncio.timeout(5):
        await close_engines([HangingEngine(name="llama"), after], deadline_s=0.01)
    assert after.closed


@pytest.mark.parametrize("hold", [TASK, PROGRAM], ids=lambda hold: hold.kind.value)
def test_group_that_leaves_is_kept_until_its_last_hold_ends(hold: Hold) -> None:
    engine = ClosingEngine(name="llama")
    registry = Registry(wanted(a_slot(made=engine)))
    place = registry[GPU0]
    place.hold(hold)
    change(registry, wanted())
    assert registry[GPU0] is place
    assert place.engine("llama") is engine
    assert not place.is_free
    registry.release([place], hold)
    assert registry.get(GPU0) is None
    asyncio.run(registry.close())
    assert engine.closed


def test_engine_of_a_held_slot_changes_when_the_hold_ends() -> None:
    old, new = ClosingEngine(name="llama"), ScriptedEngine(name="llama")
    registry = Registry(wanted(a_slot(made=old)))
    registry[GPU0].hold(TASK)
    change(registry, wanted(a_slot(url="http://b", made=new)))
    assert registry[GPU0].engine("llama") is old
    registry.release([registry[GPU0]], TASK)
    assert registry[GPU0].engine("llama") is new
    asyncio.run(registry.close())
    assert old.closed


def test_new_engine_is_checked_only_after_the_old_one_is_closed() -> None:
    registry = Registry(wanted(a_slot()))
    change(registry, wanted(a_slot(url="http://b")))
    assert registry[GPU0].list_due_checks(now=1.0) == ()
    assert len(registry[GPU0].take_retired()) == 1
    assert registry[GPU0].list_due_checks(now=1.0) == ("llama",)


def test_what_is_wanted_again_before_the_hold_ends_stays_as_it_is() -> None:
    engine = ClosingEngine(name="llama")
    registry = Registry(wanted(a_slot(made=engine)))
    registry[GPU0].hold(TASK)
    change(registry, wanted())
    change(registry, wanted(a_slot(made=ScriptedEngine(name="llama"))))
    registry.release([registry[GPU0]], TASK)
    assert registry[GPU0].engine("llama") is engine
    asyncio.run(registry.close())
    assert engine.closed


def test_engine_that_cannot_be_made_leaves_everything_as_it_was() -> None:
    def break_down() -> ScriptedEngine:
        raise ValueError("no such option")

    registry = Registry(wanted(a_slot()))
    with pytest.raises(ValueError, match="no such option"):
        change(registry, wanted(replace(a_slot("whisper", device=GPU1), make=break_down)))
    assert [place.id for place in registry] == [GPU0]
    assert registry[GPU0].is_free


def test_changing_group_takes_no_new_tasks() -> None:
    registry = Registry(wanted(a_slot()))
    registry[GPU0].hold(PROGRAM)
    change(registry, wanted(a_slot(url="http://b")))
    assert registry[GPU0].to_place().gate is not Gate.OPEN


def test_held_group_is_not_given_to_another() -> None:
    registry = Registry(wanted(a_slot()))
    registry[GPU0].hold(PROGRAM)
    assert registry[GPU0].to_place().gate is Gate.UNHEALTHY
    assert registry[GPU0].to_place().gate_reason == "held by train.py of ada"
    with pytest.raises(SlotHeldError, match=r"train\.py of ada"):
        registry[GPU0].hold(TASK)


def test_foreign_use_is_what_was_measured_before_our_models_were_there() -> None:
    at_start = replace(a_device(memory=16), foreign=Bytes(2))
    registry = Registry(wanted(a_slot(), devices=(at_start,)))
    again = replace(at_start, foreign=Bytes(10))
    assert registry.compare(wanted(a_slot(), devices=(again,))).devices == ()
    change(registry, wanted(a_slot(), devices=(again,)))
    assert registry[GPU0].to_place().capacity == 14
    change(registry, wanted(a_slot(), devices=(replace(again, provider="node/GPU-other"),)))
    assert registry[GPU0].to_place().capacity == 6


def test_closed_gate_stays_closed_for_a_slot_that_comes_back() -> None:
    registry = Registry(wanted(a_slot()))
    registry.note_gates({GPU0: Gate.PAUSED})
    change(registry, wanted())
    change(registry, wanted(a_slot()))
    assert registry[GPU0].to_place().gate is Gate.PAUSED


class StartingEngine(ScriptedEngine):
    """Stands for the engine of a server that Corral starts; its next start takes as long as the test says."""

    start_s: float | None = None
    forgiven = 0

    def forgive(self) -> None:
        self.forgiven += 1

    def take_waited(self, attempt: UUID) -> float:
        return 7.5


def test_slot_that_is_resumed_by_hand_has_its_failed_starts_forgiven() -> None:
    engine = StartingEngine()
    registry = Registry(wanted(replace(a_slot(), make=lambda: engine)))
    registry.note_gates({GPU0: Gate.DRAINING})
    assert engine.forgiven == 0

    registry.note_gates({})
    registry.note_gates({})

    assert engine.forgiven == 1


async def test_policy_sees_what_the_start_of_a_server_would_take() -> None:
    engine = StartingEngine()
    registry = Registry(wanted(replace(a_slot(), make=lambda: engine)))
    place, name = registry[GPU0], a_slot().engine
    for start_s, starts in ((None, {}), (40.0, {name: 40.0}), (0.0, {})):
        engine.start_s = start_s
        await place.refresh([name])
        assert dict(place.to_place().starts) == starts
    assert place.take_waited(name, uuid4()) == 7.5
    assert place.take_waited("absent", uuid4()) == 0.0


def test_gate_of_a_device_is_that_of_its_slots_until_one_has_its_own() -> None:
    registry = Registry(wanted(a_slot(), a_slot("whisper")))
    registry.note_gates({GPU0: Gate.DRAINING, SlotId("node/gpu0/whisper"): Gate.OPEN})
    view = registry[GPU0].to_place()
    assert (view.gate, dict(view.closed)) == (Gate.OPEN, {"llama": Gate.DRAINING})
    registry.note_gates({GPU0: Gate.PAUSED})
    assert (registry[GPU0].to_place().gate, dict(registry[GPU0].to_place().closed)) == (Gate.PAUSED, {})


def test_slot_that_another_server_holds_closes_its_group_under_any_of_its_names() -> None:
    registry = Registry(wanted(a_slot(), a_slot("llama", device=GPU1)))
    for name in ("node/gpu0", "node/gpu0/llama", "node/gpu0/unknown-here"):
        registry.note_elsewhere({SlotId(name): "task 3 holds it for another server"})
        assert [place.is_free for place in registry] == [False, True], name
    registry.note_elsewhere({})
    assert sum(place.is_free for place in registry) == 2


async def test_place_whose_gpu_was_away_takes_nothing_before_its_engines_were_ended() -> None:
    engine = ScriptedEngine(name="llama")
    registry = Registry(wanted(replace(a_slot(made=engine), settings={})))
    place = registry[GPU0]
    await place.check("llama", now=0.0)
    place.hold(TASK)
    place.close_for("the GPU is lost")
    place.close_for(None)  # it is back before what ran there has ended
    await place.check("llama", now=0.0)  # as after an attempt that was cut off
    registry.release([place], TASK)
    free_at_once, gate_at_once = place.is_free, place.to_place().gate

    async with watching(registry) as changed:
        async with asyncio.timeout(10):
            while not place.is_free:
                await changed.wait()
                changed.clear()

    assert (free_at_once, gate_at_once) == (False, Gate.UNHEALTHY)
    assert engine.kills == 1


async def test_check_of_a_slot_that_has_left_since_it_was_due_ends_no_other_check() -> None:
    registry = Registry(wanted(a_slot()))
    place = registry[GPU0]
    (due,) = place.list_due_checks(now=0.0)
    registry.apply(registry.compare(Wanted()))

    assert not await place.check(due, now=0.0)
