"""Devices and slots as the API answers them."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from corral.scheduling.values import Gate
from corral.server.api.schemas import Answer, ProgressOut
from corral.slots.values import HoldKind


class ResidentOut(Answer):
    """A model in a slot's memory."""

    model: str
    memory: int | None = Field(description="bytes; null when unknown")


class RunningOut(Answer):
    """The task or guest that a slot's engine works on."""

    task: int | None = Field(description="null for a guest: a request through the gateway")
    owner: str
    model: str | None
    started_at: datetime
    expected_end: datetime | None


class HoldOut(Answer):
    """A hold: until it ends, nothing else runs on any slot of the group."""

    kind: HoldKind
    owner: str
    label: str
    since: datetime
    task: int | None


class ProgramOut(Answer):
    """A program outside of Corral that uses a GPU."""

    name: str
    user: str | None = Field(description="null when unknown")
    memory: int | None = Field(description="bytes; null where the driver does not report it")


class YieldOut(Answer):
    """Programs outside of Corral that have a GPU now."""

    to: str = Field(description="for people: `game.x86_64 (9.8 GiB)`")
    since: datetime
    until: datetime | None = Field(description="null where it depends on the programs")


class DeviceOut(Answer):
    """A GPU, or a share of a processor."""

    id: str
    node: str
    provider: str = Field(description="the provider of the memory; devices with the same one share it")
    model: str
    memory: int | None = Field(description="bytes that it has; null when unknown")
    capacity: int | None = Field(description="bytes that tasks can use")
    foreign: int | None = Field(description="bytes that other programs hold; null when unknown")
    own: int | None = Field(description="bytes that Corral's own processes hold; null when unknown")
    used: int | None = Field(description="bytes that everything on it holds; null when unknown")
    busy: float | None = Field(description="share of the time in which it computed, 0 to 1; null when unknown")
    watts: float | None = Field(description="power that it draws; null when unknown")
    temperature: int | None = Field(description="degrees Celsius; null when unknown")
    programs: list[ProgramOut] = Field(description="programs outside of Corral that use it, the largest first")
    blind: str | None = Field(description="why Corral's own memory is unknown; null when it is not")
    yields: YieldOut | None = Field(description="who has it now; null when tasks can")


class SlotOut(Answer):
    """One engine's place on a device."""

    id: str
    device: str
    group: str = Field(description="slots of one group exclude each other: one of them works at a time")
    node: str
    device_model: str
    engine: str
    instance: str | None
    gate: Gate
    gate_reason: str
    problem: str | None = Field(description="why the engine does not work; null when it does")
    opens_at: datetime | None = Field(description="when its hours begin; null within them, and without any")
    closes_at: datetime | None = Field(description="when its hours end next; null where they do not")
    resident: list[ResidentOut]
    computes_on: str | None = Field(description="devices that hold its models, as its engine reports them")
    caution: str | None = Field(description="why that is not the slot's device, and what to do; null when it is")
    lanes: int = Field(description="tasks of one model that it does at a time")
    running: RunningOut | None = Field(description="what it has worked on for longest; null when idle")
    tasks: list[RunningOut] = Field(description="all that it works on, each in a lane; all of one model")
    held: HoldOut | None
    progress: ProgressOut | None


class GuestOut(Answer):
    """A guest: a request through the gateway, which has a slot or waits for one."""

    owner: str
    label: str
    asked_at: datetime
    slot: str | None = Field(description="null while it waits")
    started_at: datetime | None = Field(description="null while it waits")
    ahead: int | None = Field(description="tasks and guests that go first; null once it has a slot, or when unknown")
    expected_s: float | None = Field(description="seconds until it has a slot; null once it has one, or when unknown")
    because: str = Field(description="why it waits; empty once it has a slot, and before that is known")


class Slots(Answer):
    """Devices and their slots, as the dispatcher saw them last."""

    devices: list[DeviceOut]
    items: list[SlotOut]
    guests: list[GuestOut] = Field(description="requests through the gateway, the oldest first")


class SlotsChanged(Answer):
    """Devices, slots and guests that have changed since the event before; a stream begins with all of them."""

    whole: bool = Field(description="true where this is all there is, and not a change")
    devices: list[DeviceOut]
    items: list[SlotOut]
    guests: list[GuestOut] | None = Field(description="all guests; null where they are as they were")
    gone: list[str] = Field(description="slots that there are no more")
    gone_devices: list[str] = Field(description="devices that there are no more")
