"""Slots: what they hold and do, and their gates."""

from __future__ import annotations

from typing import ClassVar

from fastapi import APIRouter

from corral.errors import CorralError, Kind
from corral.scheduling.values import Gate
from corral.server.api import answers
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Word
from corral.server.api.schemas import SlotOut, Slots
from corral.server.api.state import Admin, Api, Here, Viewer
from corral.tasks.store.controls import Gated, gates, set_gate

router = APIRouter(prefix="/corral/v1/slots", tags=["slots"])


class SlotMissingError(CorralError):
    """There is no such slot."""

    code: ClassVar[str] = "slot.missing"
    kind: ClassVar[Kind] = Kind.MISSING


@router.get("", summary="List slots", responses=declare_refusals())
async def list_slots(api: Here, caller: Viewer) -> Slots:
    """List every slot as the dispatcher saw it last."""
    return Slots(items=await _describe_slots(api))


@router.post("/{slot:path}/pause", summary="Pause a slot", responses=declare_refusals(404))
async def pause_slot(slot: Word, api: Here, caller: Admin) -> SlotOut:
    """Start nothing on a slot until it is resumed; what runs there goes on."""
    return await _set(api, slot, Gate.PAUSED)


@router.post("/{slot:path}/resume", summary="Resume a slot", responses=declare_refusals(404))
async def resume_slot(slot: Word, api: Here, caller: Admin) -> SlotOut:
    """Let a slot take tasks again."""
    return await _set(api, slot, Gate.OPEN)


@router.post("/{slot:path}/drain", summary="Drain a slot", responses=declare_refusals(404))
async def drain_slot(slot: Word, api: Here, caller: Admin) -> SlotOut:
    """Empty a slot for maintenance: what runs there ends, nothing new starts until it is resumed."""
    return await _set(api, slot, Gate.DRAINING)


async def _describe_slots(api: Api) -> list[SlotOut]:
    services = api.services
    return answers.describe_slots(services.board.slots, await gates(services.pool, Gated.SLOT), services.board.progress)


async def _set(api: Api, name: str, gate: Gate) -> SlotOut:
    known = [slot.id for slot in api.services.board.slots]
    if name not in known:
        listed = ", ".join(known[:10]) or "this server's dispatcher has shown none yet"
        raise SlotMissingError(f"there is no slot {name!r}", hint=f"known: {listed}")
    await set_gate(api.services.pool, Gated.SLOT, name, gate)
    return next(slot for slot in await _describe_slots(api) if slot.id == name)
