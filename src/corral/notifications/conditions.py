"""Conditions that are worth a message when they begin: a full disk, slots that do not work, GPUs that yield. Pure.

What was reported is stored, so that a server that starts again does not report it again. A condition has to last a
little before it is reported, and to be gone a little before it can be reported anew: engines start again by themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from corral.cluster.receivers import Occasion
from corral.slots.slot_state import NOT_CHECKED
from corral.slots.values import PlaceView
from corral.tasks import disk
from corral.tasks.alarms import Alarm
from corral.work import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that holds now."""

    name: str
    occasion: Occasion
    data: Mapping[str, Json]


def list_conditions(alarms: Iterable[Alarm], places: Iterable[PlaceView]) -> Iterator[Condition]:
    """List what holds now, of alarms and slots; a device that has several places is listed with each."""
    for alarm in alarms:
        if alarm.name == disk.ALARM:
            data: dict[str, Json] = {"what": alarm.what, "hint": alarm.hint}
            yield Condition(name=alarm.name, occasion=Occasion.DISK_LOW, data=data)
    for place in places:
        if place.yielding is not None:
            data = {
                "device": place.device.name,
                "to": place.yielding.to,
                "since": place.yielding.since.isoformat(),
            }
            yield Condition(name=f"yield/{place.device.name}", occasion=Occasion.SLOT_YIELDS, data=data)
        if place.use is not None and place.use.problem is not None:
            device = place.device.name
            data = {"slot": device, "reason": f"the GPU cannot be used: {place.use.problem}"}
            yield Condition(name=f"slot/{device}", occasion=Occasion.SLOT_CLOSED, data=data)
            continue
        for slot in place.slots:
            if slot.problem in (None, NOT_CHECKED):
                continue
            data = {"slot": slot.spec.id, "reason": slot.problem}
            yield Condition(name=f"slot/{slot.spec.id}", occasion=Occasion.SLOT_CLOSED, data=data)


@dataclass(slots=True)
class ConditionWatch:
    """Which conditions were reported, and since when others begin and end; in seconds of a monotonic clock."""

    reported: set[str]
    begins_after_s: float = 20.0
    ends_after_s: float = 60.0
    _since: dict[str, float] = field(default_factory=dict[str, float])
    """Of those that begin, and of reported ones that end."""

    def find_begun(self, present: Iterable[Condition], *, now: float) -> tuple[Condition, ...]:
        """Return those that have lasted long enough and were not reported."""
        begun: list[Condition] = []
        for condition in present:
            if condition.name in self.reported:
                self._since.pop(condition.name, None)
            elif now - self._since.setdefault(condition.name, now) >= self.begins_after_s:
                begun.append(condition)
        return tuple(begun)

    def find_ended(self, present: Collection[str], *, now: float) -> tuple[str, ...]:
        """Return those that were reported and have been gone long enough; those that only began are forgotten."""
        for name in self._since.keys() - self.reported - set(present):
            del self._since[name]
        gone = sorted(self.reported - set(present))
        return tuple(name for name in gone if now - self._since.setdefault(name, now) >= self.ends_after_s)

    def note_reported(self, name: str) -> None:
        """Note that a condition was reported."""
        self.reported.add(name)
        self._since.pop(name, None)

    def note_ended(self, name: str) -> None:
        """Note that a condition can be reported anew."""
        self.reported.discard(name)
        self._since.pop(name, None)
