"""The values of slots: what is wanted, how that differs from what there is, and holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit
from uuid import UUID

from corral.hours import Hours
from corral.scheduling.values import Gate, Place, ResidentModel, RunningTask
from corral.slots.device_use import DeviceUse
from corral.slots.yielding import Yielding
from corral.units import Bytes, format_bytes, format_duration
from corral.work import Engine, SlotId

CPU = "cpu"
"""The device model of a share of a processor."""

_SIZES = frozenset({"memory", "limit"})
"""Fields of devices in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """A GPU, a share of a processor, or whatever an instance computes on."""

    name: SlotId
    """Unique in the cluster: `node/gpu0`, `node/cpu1`; of an instance without a known GPU, the instance's name."""
    node: str
    provider: str
    """The provider of the memory, unique in the cluster (`node/GPU-<uuid>`); devices with one provider share it."""
    model: str
    """The GPU's catalogue model, `cpu`, or `unknown`; durations are measured per device model."""
    memory: Bytes | None = None
    """The memory of the device; None when unknown."""
    limit: Bytes | None = None
    """The part of it that tasks can use according to the cluster file; None when the file does not say."""
    foreign: Bytes | None = field(default=None, compare=False)
    """Memory that other programs held when the device was looked at; not part of what is wanted."""
    hours: Hours | None = None
    """When tasks can start on it; None is always."""
    visible: str | None = None
    """How it is named to its engines: NVIDIA's UUID (for `CUDA_VISIBLE_DEVICES`), or the PCI address of any other GPU.
    None on processors and for instances reached by URL."""

    @property
    def processor(self) -> str | None:
        """The name of what its places compute on together; None for a share of a processor."""
        return None if self.model == CPU else self.provider

    @property
    def capacity(self) -> Bytes | None:
        """Memory that tasks can use; None when unknown."""
        free = None if self.memory is None else Bytes(max(0, self.memory - (self.foreign or 0)))
        return min((size for size in (free, self.limit) if size is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSpec:
    """One engine's place on a device."""

    id: SlotId
    """`node/gpu0/comfyui`, and `node/gpu0/comfyui/b` where the device has several instances of the engine."""
    device: SlotId
    place: SlotId
    """Slots of one place are occupied one at a time: those of a share of a processor. Of each engine, a place has at
    most one slot. A slot of a GPU is a place of its own."""
    engine: str
    instance: str | None = None
    """The instance's name in the cluster file; None for an engine in processes of this machine."""
    exclusive: bool = False
    """Whether its tasks compute alone on the device."""
    lanes: int | None = None
    """How many tasks of one model it does at a time; None is as many as its server says, and one where none says it."""
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    """The settings of the engine (a URL, options, threads): where they differ, the engine is made again."""
    make: Callable[[], Engine] = field(compare=False, repr=False)
    log: Path | None = field(default=None, compare=False)
    """The file of what its engine's process prints; None where it has none here."""

    @property
    def gate_names(self) -> tuple[SlotId, ...]:
        """The names under which its gate can be set, the narrowest first: its instance, its engine, its device.

        A slot has its instance in its name only where the device has several of the engine. Its gate counts under both
        names, so that a slot that is drained stays so when another instance comes or goes.
        """
        engine = SlotId(f"{self.device}/{self.engine}")
        instance = () if self.instance is None else (SlotId(f"{engine}/{self.instance}"),)
        return *instance, engine, self.device

    @property
    def port(self) -> int | None:
        """The port of its server; None of an engine without a URL."""
        url = self.settings.get("url")
        if not isinstance(url, str):
            return None
        parts = urlsplit(url)
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme)

    @property
    def occupies(self) -> str:
        """Whatever the slot is called: the server, the engine on a GPU, or the share of the processor that it takes.

        Engines of one GPU leave room for one another, which the policy watches.
        """
        gpu = self.settings.get("gpu")
        return str(self.settings.get("url") or (f"{gpu}/{self.engine}" if gpu else self.device))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The devices and slots that there should be."""

    devices: tuple[DeviceSpec, ...] = ()
    slots: tuple[SlotSpec, ...] = ()
    """Each names a device of `devices`; slots of one place are on one device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotChange:
    """A slot that stays where it is and becomes another."""

    before: SlotSpec
    after: SlotSpec
    what: tuple[str, ...]
    """What differs, for people: `url: http://a -> http://b`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChange:
    """A device that is described otherwise than before."""

    before: DeviceSpec
    after: DeviceSpec
    what: tuple[str, ...]
    """As in `SlotChange`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingChange:
    """A change that was applied before and waits for the end of a hold."""

    name: SlotId
    """The slot or device."""
    what: tuple[str, ...]
    """As in `SlotChange`; empty where the slot leaves."""
    hold: str
    """`task 12 of ada`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What `Registry.apply` would do, in the order of the cluster file."""

    wanted: Wanted = field(repr=False)
    added: tuple[SlotSpec, ...] = ()
    changed: tuple[SlotChange, ...] = ()
    removed: tuple[SlotSpec, ...] = ()
    devices: tuple[DeviceChange, ...] = ()
    held: Mapping[SlotId, str] = field(default_factory=dict[SlotId, str])
    """Slots and devices that change or go when their hold ends, with the hold: `task 12 of ada`."""
    pending: tuple[PendingChange, ...] = ()
    """Changes that were applied before, are still wanted, and wait for the end of a hold."""


def compare(before: Wanted, after: Wanted) -> Difference:
    """Return how what is wanted changes; a slot is the same one if its place and engine are the same."""
    old = {(slot.place, slot.engine): slot for slot in before.slots}
    new = {(slot.place, slot.engine): slot for slot in after.slots}
    known = {device.name: device for device in before.devices}
    return Difference(
        wanted=after,
        added=tuple(slot for key, slot in new.items() if key not in old),
        changed=tuple(
            SlotChange(before=old[key], after=slot, what=_list_slot_differences(old[key], slot))
            for key, slot in new.items()
            if key in old and old[key] != slot
        ),
        removed=tuple(slot for key, slot in old.items() if key not in new),
        devices=tuple(
            DeviceChange(before=known[device.name], after=device, what=_list_differences(known[device.name], device))
            for device in after.devices
            if device.name in known and known[device.name] != device
        ),
    )


def _list_slot_differences(before: SlotSpec, after: SlotSpec) -> tuple[str, ...]:
    keys = [*after.settings, *(key for key in before.settings if key not in after.settings)]
    return (
        *_list_differences(before, after),
        *(
            describe_change(key, before.settings.get(key), after.settings.get(key))
            for key in keys
            if before.settings.get(key) != after.settings.get(key)
        ),
    )


def _list_differences(before: DeviceSpec | SlotSpec, after: DeviceSpec | SlotSpec) -> tuple[str, ...]:
    return tuple(
        describe_change(part.name, *(_read_field(spec, part.name) for spec in (before, after)))
        for part in fields(before)
        if part.compare and part.name != "settings" and getattr(before, part.name) != getattr(after, part.name)
    )


def _read_field(spec: DeviceSpec | SlotSpec, name: str) -> object:
    value = getattr(spec, name)
    return format_bytes(value) if name in _SIZES and value is not None else value


def describe_change(name: str, before: object, after: object) -> str:
    """Describe for people how a setting changes: `url: http://a -> http://b`."""
    return f"{name}: {_show(before)} -> {_show(after)}"


def _show(value: object) -> str:
    if value is None or value == ():
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()  # as the cluster file writes it
    if isinstance(value, timedelta):
        return format_duration(value.total_seconds())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)  # pyright: ignore[reportUnknownArgumentType]


def find_gate(slot: SlotSpec, gates: Mapping[SlotId, Gate]) -> Gate:
    """Return the gate of a slot: that of the narrowest of its names that has one; open where none has."""
    return next((gates[name] for name in slot.gate_names if name in gates), Gate.OPEN)


def find_hours_around(place: Place, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Find when a place opens, None within its hours, and when it closes next."""
    opening = None if place.hours is None else place.hours.find_opening(now)
    if opening is None:
        return None, None
    return opening.opens_at if opening.opens_at > now else None, opening.closes_at


@runtime_checkable
class WaitsForTurn(Protocol):
    """An engine whose attempts wait for what another program gives out; their time does not run meanwhile."""

    def count_waited(self, attempt: UUID) -> float:
        """Return the seconds that an attempt has waited so far; 0 for one that it does not know."""
        ...


class HoldKind(StrEnum):
    """The kinds of holds."""

    TASK = "task"
    GUEST = "guest"
    """An interactive request that came through the gateway; lives as long as its connection."""
    PROGRAM = "program"
    """A program of a user."""
    LAYOUT_SWITCH = "layout_switch"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hold:
    """A place taken: until the hold ends, nothing else gets it, and nothing of it is removed or changed."""

    kind: HoldKind
    owner: str
    label: str
    """Its name for people: `task 12`."""
    since: datetime
    task: RunningTask | None = None
    """Of a task, its facts for the policy."""

    def __str__(self) -> str:
        return f"{self.label} of {self.owner}" if self.owner else self.label


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotView:
    """One slot as it was seen last."""

    spec: SlotSpec
    gate: Gate
    problem: str | None
    """Why its engine does not work; None when it does."""
    resident: tuple[ResidentModel, ...]
    lanes: int
    """How many tasks of one model it does at a time."""
    computes_on: str | None
    """The devices that hold its models, in the words of its engine; None where it reports none."""
    caution: str | None
    """Why that is not the slot's device, and what to do; None when it is."""
    loads: int = 0
    """Models that it was asked for and did not have in memory, since the server started."""
    evictions: int = 0
    """How often it gave up the memory of its models, since the server started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceView:
    """Slots that are occupied one at a time, as they were seen last."""

    device: DeviceSpec
    facts: Place
    """The policy's view of all of them."""
    slots: tuple[SlotView, ...]
    holds: tuple[Hold, ...]
    use: DeviceUse | None = None
    """The newest look at the device; None where this server cannot look at it."""
    yielding: Yielding | None = None
    """The programs outside of Corral that have the device now."""
    device_problem: str | None = None
    """Why the device cannot be used now; None where it can."""
