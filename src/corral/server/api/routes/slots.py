"""Devices and slots: what holds them and what they have in memory, their gates, and who has a GPU."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar

from fastapi import Query
from starlette.responses import Response

from corral.errors import CorralError, Kind, Problem, ProblemsError, did_you_mean
from corral.operations.lane_checks import LanesAsked, LanesChecked, check_lanes
from corral.processes.log_reading import LogPart, read_after, read_last
from corral.scheduling.values import Gate
from corral.server.api import answers
from corral.server.api.auditing import describe_act
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import LongWord
from corral.server.api.requests import HandOverAsked, SlotsAsked, TakeBackAsked
from corral.server.api.routing import make_router
from corral.server.api.slot_schemas import SlotOut, Slots
from corral.server.api.state import Admin, ApiState, Here, Viewer
from corral.server.api.wired import answer, defer, describe_answers
from corral.server.auth import Caller
from corral.slots.values import PlaceView
from corral.tasks.store.audit import Action
from corral.tasks.store.controls import Gated, find_gates, find_handed_over, hand_over, set_gates, take_back
from corral.work import SlotId

MOST_LOG_LINES = 10_000

describe_answers(LogPart, LanesChecked)

router = make_router("slots", prefix="/corral/v1/slots", route_class=StrictRoute)


class SlotMissingError(ProblemsError):
    """There are no such slots."""

    code: ClassVar[str] = "slot.missing"
    kind: ClassVar[Kind] = Kind.MISSING


class SlotLogMissingError(CorralError):
    """The engine of a slot prints nothing that this server keeps."""

    code: ClassVar[str] = "slot.no_log"
    kind: ClassVar[Kind] = Kind.MISSING


@router.get("", summary="List devices and slots", responses=declare_refusals())
async def list_slots(api: Here, caller: Viewer) -> Slots:
    """List every device and its slots as the dispatcher saw them last."""
    return await describe_slots(api)


@router.get("/logs", summary="Read the log of a slot", response_model=LogPart, responses=declare_refusals(404))
async def read_slot_log(
    api: Here,
    caller: Admin,
    slot: Annotated[LongWord, Query(description="the slot: `node/gpu0/comfyui`")],
    lines: Annotated[int, Query(ge=0, le=MOST_LOG_LINES, description="the last lines, at most so many")] = 100,
    after: Annotated[str, Query(max_length=64, description="`position` of the answer before: what came since")] = "",
) -> Response:
    """Read what the process of a slot's engine printed: its last lines, or those after a position."""
    views = [view.spec for place in api.services.board.places for view in place.slots]
    _check_known([slot], [spec.id for spec in views])
    log = next(spec.log for spec in views if spec.id == slot)
    if log is None:
        raise SlotLogMissingError(
            f"{slot} has no log here: its engine runs elsewhere, or within the server", where=slot
        )
    part = await asyncio.to_thread(read_after, log, after) if after else await asyncio.to_thread(read_last, log, lines)
    return answer(part)


@router.post(
    "/lanes/check",
    summary="Check lanes",
    response_model=defer(LanesChecked),
    responses=declare_refusals(),
)
async def check_slot_lanes(api: Here, caller: Admin) -> Response:
    """Send two requests at once to each server that has several lanes and says nothing of them.

    Only those that are free and have a model in memory are asked; nothing is loaded.
    """
    return answer(await check_served_lanes(api))


async def check_served_lanes(api: ApiState) -> LanesChecked:
    """Check the lanes of the slots of this server."""
    asked = [
        LanesAsked(
            slot=view.spec.id,
            engine=view.spec.engine,
            instance=view.spec.instance,
            lanes=place.facts.lanes_for(view.spec.engine),
            is_busy=bool(place.holds),
        )
        for place in api.services.board.places
        for view in place.slots
        if view.spec.instance is not None
    ]
    return await check_lanes(api.services.cluster, api.services.directory, asked)


@router.post("/pause", summary="Pause slots", responses=declare_refusals(400, 404, 413))
async def pause_slots(asked: SlotsAsked, api: Here, caller: Admin) -> Slots:
    """Start nothing on slots or devices until they are resumed; what runs there goes on."""
    return await _set_gates(api, caller, asked.slots, Gate.PAUSED)


@router.post("/resume", summary="Resume slots", responses=declare_refusals(400, 404, 413))
async def resume_slots(asked: SlotsAsked, api: Here, caller: Admin) -> Slots:
    """Let slots or devices take tasks again."""
    return await _set_gates(api, caller, asked.slots, Gate.OPEN)


@router.post("/drain", summary="Drain slots", responses=declare_refusals(400, 404, 413))
async def drain_slots(asked: SlotsAsked, api: Here, caller: Admin) -> Slots:
    """Empty slots or devices for maintenance: what runs there ends, nothing new starts until they are resumed."""
    return await _set_gates(api, caller, asked.slots, Gate.DRAINING)


@router.post("/yield", summary="Give GPUs to other programs", responses=declare_refusals(400, 404, 413))
async def yield_devices(asked: HandOverAsked, api: Here, caller: Admin) -> Slots:
    """Give devices to programs outside of Corral: nothing starts there, and models are given up.

    What runs ends first, or after the `interruptAfter` of the device. It is stored: a server that starts anew knows it.
    """
    _require_devices(asked.devices, api)
    lasts = None if asked.for_s is None else timedelta(seconds=asked.for_s)
    act = describe_act(caller, Action.DEVICE_HANDED_OVER, ", ".join(sorted(asked.devices)), for_s=asked.for_s)
    await hand_over(api.services.pool, asked.devices, lasts, at_once=asked.now, act=act)
    return await _show_devices(api, asked.devices)


@router.post("/take-back", summary="Take GPUs back", responses=declare_refusals(400, 404, 413))
async def take_devices_back(asked: TakeBackAsked, api: Here, caller: Admin) -> Slots:
    """Let devices that were given to other programs by hand take tasks again; `yieldTo` of the file stays in effect."""
    _require_devices(asked.devices, api)
    act = describe_act(caller, Action.DEVICE_TAKEN_BACK, ", ".join(sorted(asked.devices)))
    await take_back(api.services.pool, asked.devices, act=act)
    return await _show_devices(api, asked.devices)


def _require_devices(names: Collection[str], api: ApiState) -> None:
    _check_known(names, {place.device.name for place in api.services.board.places}, where="devices")


async def _show_devices(api: ApiState, names: Collection[str]) -> Slots:
    everything = await describe_slots(api)
    items = [slot for slot in everything.items if slot.device in names]
    return _choose(everything, items, names)


def _choose(everything: Slots, items: list[SlotOut], devices: Collection[str]) -> Slots:
    """Answer some slots alone, with the guests that have them."""
    shown = {slot.id for slot in items}
    return Slots(
        devices=[device for device in everything.devices if device.id in devices],
        items=items,
        guests=[guest for guest in everything.guests if guest.slot in shown],
    )


async def describe_slots(api: ApiState) -> Slots:
    """Describe every device and slot, with the gates of this moment."""
    services = api.services
    gates = await find_gates(services.pool, Gated.SLOT)
    handed_over = await find_handed_over(services.pool)
    return answers.describe_slots(
        [answers.add_handed_over(place, handed_over.get(place.device.name)) for place in services.board.places],
        {SlotId(name): gate for name, gate in gates.items()},
        services.board.progress,
        () if services.guests is None else services.guests.list_guests(),
        datetime.now(UTC),
    )


async def _set_gates(api: ApiState, caller: Caller, names: Collection[str], gate: Gate) -> Slots:
    covered = _list_covered(api.services.board.places)
    _check_known(names, covered)
    act = describe_act(caller, Action.SLOT_GATE_SET, ", ".join(sorted(names)), gate=gate.value)
    await set_gates(api.services.pool, Gated.SLOT, {name: covered[name] for name in names}, gate, act=act)
    everything = await describe_slots(api)
    changed = {*names, *(member for name in names for member in covered[name])}
    items = [slot for slot in everything.items if slot.id in changed]
    return _choose(everything, items, {slot.device for slot in items})


def _list_covered(places: Collection[PlaceView]) -> Mapping[str, set[str]]:
    """Return every name that can be asked for, with the narrower ones that take its gate over.

    These are slots, devices, and engines of which a device has several instances.
    """
    covered: dict[str, set[str]] = {}
    for slot in (slot for place in places for slot in place.slots):
        names = slot.spec.gate_names
        for number in range(names.index(slot.spec.id), len(names)):
            covered.setdefault(names[number], set()).update(names[:number])
    return covered


def _check_known(names: Collection[str], known: Collection[str], *, where: str = "slots") -> None:
    empty = "wait until the server has looked at its slots" if not known else None
    problems = [
        Problem(
            code=SlotMissingError.code,
            what=f"there is no slot or device {name!r}",
            where=where,
            hint=empty or did_you_mean(name, known),
        )
        for name in names
        if name not in known
    ]
    if problems:
        raise SlotMissingError(problems)
