"""The energy of GPUs from look to look, and of the work that ran on them meanwhile. Pure.

A look has the watts of its moment; GPUs since Volta also count their energy since the driver was loaded, which is exact
(https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html). What a GPU drew between two looks belongs to
the work that ran meanwhile, by the seconds that each of it ran; while nothing did, it belongs to none. Work can be
shorter than the time between two looks: where a GPU counts, what it draws at rest, known from looks at which nothing
ran, is taken off first. Programs outside of Corral that computed meanwhile take their part by the time for which they
did.

Where looks are missing, nothing is made up: those seconds are counted as unmeasured, and the energy of work that has
such seconds is not whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from corral.hardware.power.measured import DeviceEnergy
from corral.slots.device_use import DeviceUse
from corral.work import SlotId

LONGEST_S = 15.0
"""Between two looks that have watts alone; over a longer time they say nothing of what was drawn."""


@dataclass(frozen=True, slots=True)
class Energy:
    """The energy of some work or device."""

    joules: float = 0.0
    unmeasured_s: float = 0.0
    """Seconds of GPUs for which nothing was measured, and which `joules` lacks."""

    @property
    def is_whole(self) -> bool:
        """Whether all of it was measured."""
        return self.joules > 0 and not self.unmeasured_s

    def __add__(self, other: Energy) -> Energy:
        """Return both together."""
        return Energy(self.joules + other.joules, self.unmeasured_s + other.unmeasured_s)


@dataclass(slots=True, eq=False)
class MeteredWork:
    """Work whose energy is measured."""

    devices: frozenset[SlotId]
    began_s: float
    energy: Energy = Energy()
    ended_s: float | None = None
    waits_for: set[SlotId] = field(default_factory=set[SlotId])
    """Devices that were not looked at since its end."""
    note: Callable[[Energy], None] = lambda _: None
    """Gets the energy, once it is known."""


@dataclass(frozen=True, slots=True)
class _Look:
    at_s: float
    use: DeviceUse | None
    """None where the device did not answer."""


class EnergyMeter:
    """Measures the energy of devices and of work; all instants are seconds of one clock that never jumps."""

    def __init__(self) -> None:
        self._last: dict[SlotId, _Look] = {}
        self._idle_w: dict[SlotId, float] = {}
        """Watts of each device while nothing ran on it."""
        self._work: dict[SlotId, list[MeteredWork]] = {}

    def begin(self, devices: Iterable[SlotId], at_s: float) -> MeteredWork | None:
        """Begin to measure work on devices; None where none of them is measured."""
        measured = frozenset(device for device in devices if device in self._last)
        if not measured:
            return None
        work = MeteredWork(measured, at_s)
        for device in measured:
            self._work.setdefault(device, []).append(work)
        return work

    def end(self, work: MeteredWork, at_s: float, note: Callable[[Energy], None]) -> None:
        """Note that work has ended; `note` gets its energy with the next look."""
        work.ended_s, work.note = at_s, note
        work.waits_for = set(work.devices)

    def note_look(self, at_s: float, uses: Mapping[SlotId, DeviceUse]) -> dict[SlotId, DeviceEnergy]:
        """Take one look at all devices, and return the energy of each since the one before, where it was measured."""
        measured: dict[SlotId, DeviceEnergy] = {}
        for device in [*self._last]:
            use = uses.get(device)
            energy = self._measure(device, at_s, use)
            if energy is not None:
                measured[device] = energy
            self._settle(device, at_s)
            self._last[device] = _Look(at_s, use)
        for device, use in uses.items():
            if device not in self._last and (use.power_w is not None or use.energy_j is not None):
                self._last[device] = _Look(at_s, use)
        return measured

    def _measure(self, device: SlotId, at_s: float, use: DeviceUse | None) -> DeviceEnergy | None:
        """Divide what a device drew since the last look among the work that ran; None where it is unknown."""
        last = self._last[device]
        seconds = at_s - last.at_s
        ran = {work: _count_seconds(work, last.at_s, at_s) for work in self._work.get(device, ())}
        ran = {work: ran_s for work, ran_s in ran.items() if ran_s > 0}
        joules = None if use is None or last.use is None else _find_joules(last.use, use, seconds)
        if use is None or joules is None:
            for work, ran_s in ran.items():
                work.energy += Energy(unmeasured_s=ran_s)
            return None
        worked_s = _measure_union(ran, last.at_s, at_s)
        foreign = _find_foreign_part(use)
        if not ran:
            if not foreign and seconds > 0:
                self._idle_w[device] = joules / seconds
            return DeviceEnergy(joules=joules, work_joules=0.0, seconds=seconds, worked_s=0.0)
        by_work = joules * worked_s / seconds
        idle_w = self._idle_w.get(device)
        if idle_w is not None and use.energy_j is not None:
            by_work = max(by_work, joules - idle_w * (seconds - worked_s))
        by_work *= 1 - foreign
        all_s = sum(ran.values())
        for work, ran_s in ran.items():
            work.energy += Energy(by_work * ran_s / all_s)
        return DeviceEnergy(joules=joules, work_joules=by_work, seconds=seconds, worked_s=worked_s)

    def _settle(self, device: SlotId, at_s: float) -> None:
        """Report the energy of work that had ended by this look, once all its devices were looked at."""
        going: list[MeteredWork] = []
        for work in self._work.pop(device, ()):
            if work.ended_s is None or work.ended_s > at_s:
                going.append(work)
                continue
            work.waits_for.discard(device)
            if not work.waits_for:
                work.note(work.energy)
        if going:
            self._work[device] = going


def _find_joules(before: DeviceUse, after: DeviceUse, seconds: float) -> float | None:
    """Return what was drawn between two looks; None where it is unknown. A counter starts anew with the driver."""
    if before.energy_j is not None and after.energy_j is not None and after.energy_j >= before.energy_j:
        return after.energy_j - before.energy_j
    if before.power_w is None or after.power_w is None or seconds > LONGEST_S:
        return None
    return (before.power_w + after.power_w) / 2 * seconds


def _find_foreign_part(use: DeviceUse) -> float:
    """Return the part of a device's computing that programs outside of Corral did; none where it is not reported."""
    foreign = sum(program.busy or 0.0 for program in use.programs)
    if not foreign:
        return 0.0
    return min(1.0, foreign / max(use.busy or 0.0, foreign))


def _count_seconds(work: MeteredWork, from_s: float, until_s: float) -> float:
    return max(0.0, min(work.ended_s if work.ended_s is not None else until_s, until_s) - max(work.began_s, from_s))


def _measure_union(works: Iterable[MeteredWork], from_s: float, until_s: float) -> float:
    """Return the seconds of a time in which any of this work ran."""
    spans = sorted(
        (max(work.began_s, from_s), min(work.ended_s if work.ended_s is not None else until_s, until_s))
        for work in works
    )
    covered, end_s = 0.0, from_s
    for begin_s, stop_s in spans:
        covered += max(0.0, stop_s - max(begin_s, end_s))
        end_s = max(end_s, stop_s)
    return covered
