"""The room of devices for attempts: looked at just before a start, and followed until the end.

What others take after the start can end an attempt; that is then known to have been them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from corral.errors import Problem
from corral.scheduling.place_table import count_accounted
from corral.slots.device_use import LEAST_STEP, DeviceUse, describe_programs
from corral.slots.place import PlaceState
from corral.slots.registry import Registry
from corral.units import Bytes, format_bytes
from corral.work import SlotId

LOOK_DEADLINE_S = 2.0
"""How long a start waits for a fresh look; without one, the last look stands."""


@dataclass(slots=True, eq=False)
class Follow:
    """What others held of an attempt's devices, from its start on."""

    devices: frozenset[SlotId]
    at_start: dict[SlotId, int] = field(default_factory=dict[SlotId, int])
    most: dict[SlotId, tuple[int, str]] = field(default_factory=dict[SlotId, tuple[int, str]])
    """With the programs that held it."""
    peak: Bytes | None = None
    """The most that Corral's processes held, where that is the attempt's alone; None where that was not seen."""
    slept: bool = False
    """Whether the machine was suspended meanwhile."""

    def describe_rise(self) -> str | None:
        """Say how much more others held at some moment than at the start; None where that was not seen."""
        for device, (most, programs) in self.most.items():
            risen = most - self.at_start.get(device, most)
            if risen >= LEAST_STEP:
                whose = programs or "programs outside of Corral"
                return f"others held {format_bytes(risen)} more of {device} than at its start ({whose})"
        return None


class DeviceRoom:
    """The room of one server's devices, as the newest look shows it."""

    def __init__(self, slots: Registry) -> None:
        self.look_asked = asyncio.Event()
        """Set where a look is wanted before its time."""
        self._slots = slots
        self._follows: set[Follow] = set()
        self._looked = asyncio.Event()
        self.is_watched = False
        """Whether there was a look."""

    @contextmanager
    def follow(self, places: Sequence[PlaceState]) -> Generator[Follow]:
        """Follow what others hold of the devices of an attempt while it runs."""
        follow = Follow(frozenset(place.device.name for place in places))
        self._follow(follow, {place.device.name: place.use for place in places if place.use is not None})
        self._follows.add(follow)
        try:
            yield follow
        finally:
            self._follows.discard(follow)

    def note_look(self, seen: Mapping[SlotId, DeviceUse]) -> None:
        """Take one look at the devices."""
        self.is_watched = True
        self._looked.set()
        self._looked = asyncio.Event()
        for follow in self._follows:
            watched = {name: use for name, use in seen.items() if name in follow.devices}
            self._follow(follow, watched)
            if len(follow.devices) == 1:
                self._note_peak(follow, watched)

    def _follow(self, follow: Follow, seen: Mapping[SlotId, DeviceUse]) -> None:
        """Note what others hold; where that cannot be distinguished from what the attempt itself takes, nothing is."""
        for name, use in seen.items():
            foreign = use.measure_foreign(0, all_reported=0) if use.own is not None else None
            if foreign is not None:
                follow.at_start.setdefault(name, foreign)
                if foreign >= follow.most.get(name, (0, ""))[0]:
                    follow.most[name] = foreign, describe_programs(use.programs)

    def _note_peak(self, follow: Follow, seen: Mapping[SlotId, DeviceUse]) -> None:
        """Note what Corral holds of a device that one task has, and where no other model is: it is all that task's."""
        for name, use in seen.items():
            places = [place for place in self._slots if place.device.name == name]
            tasks = [hold.task for place in places for hold in place.holds]
            models = {(model.engine, model.model) for place in places for model in place.to_place().resident}
            is_alone = len(tasks) == 1 and tasks[0] is not None and models <= {(tasks[0].engine, tasks[0].model)}
            if use.own is not None and is_alone:
                follow.peak = max(follow.peak or use.own, use.own)

    def note_sleep(self) -> None:
        """Note that the machine was suspended while these attempts ran."""
        for follow in self._follows:
            follow.slept = True

    async def look_again(self) -> None:
        """Wait for a fresh look; without one in time, the last one stands."""
        looked = self._looked
        self.look_asked.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_DEADLINE_S):
                await looked.wait()

    async def find_lack(self, places: Sequence[PlaceState], memory: Bytes | None) -> Problem | None:
        """Look again just before a start; return why its memory is not there any more, or None."""
        if not self.is_watched or memory is None or all(place.device.visible is None for place in places):
            return None
        await self.look_again()
        return next((lack for place in places if (lack := self._find_lack(place, places, memory))), None)

    async def find_fault(self, places: Sequence[PlaceState]) -> str | None:
        """Look again after a failure; return what is wrong with a GPU that it ran on, or None."""
        if not self.is_watched or all(place.device.visible is None for place in places):
            return None
        await self.look_again()
        for place in places:
            problem = place.device_problem or (place.use.problem if place.use is not None else None)
            if problem is not None:
                return f"{place.device.name}: {problem}"
        return None

    def _find_lack(self, place: PlaceState, places: Sequence[PlaceState], memory: Bytes) -> Problem | None:
        use = place.use
        if use is None or use.own is None or use.total is None or use.problem is not None:
            return None
        others = [other for other in self._slots if other.device.provider == place.device.provider]
        busy = sum(count_accounted(other.to_place()) for other in others if other not in places and other.holds)
        foreign = use.measure_foreign(sum(other.count_reported(use.located)[0] for other in others), all_reported=0)
        room = min(use.total - (foreign or 0), place.device.limit or use.total) - busy
        if memory <= room:
            return None
        whose = describe_programs(use.programs)
        return Problem(
            code="attempt.no_memory",
            what=f"it needs {format_bytes(memory)}, and {format_bytes(max(0, room))} of {place.device.name} are left"
            + (f" next to {whose}" if whose else ""),
            hint="it starts when there is room; `yieldTo` of a GPU says which programs go before tasks",
        )
