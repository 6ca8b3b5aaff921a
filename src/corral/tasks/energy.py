"""Keeps the energy that is measured on this server's GPUs, and writes it behind: of tasks, of usage, of devices.

A server that is killed loses what it measured in the last `WRITE_EVERY_S`; nothing is counted twice. The energy of work
that was measured in part alone stays unknown.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

from corral.hardware.power.measured import DeviceEnergy, DeviceHour
from corral.slots.device_use import DeviceUse
from corral.slots.energy import Energy, EnergyMeter, MeteredWork
from corral.slots.place import PlaceState
from corral.tasks.store.energy import forget_old_energy, write_energy
from corral.tasks.store.pool import Pool
from corral.tasks.write_behind import WriteBehind
from corral.work import SlotId

WRITE_EVERY_S = 10.0


@dataclass(slots=True)
class _Measured:
    """Measurements that are not known to be written."""

    tasks: defaultdict[int, float] = field(default_factory=lambda: defaultdict[int, float](float))
    """Joules, by task."""
    devices: dict[DeviceHour, DeviceEnergy] = field(default_factory=dict[DeviceHour, DeviceEnergy])

    def __len__(self) -> int:
        return len(self.tasks) + len(self.devices)


class EnergyBook:
    """The energy of one server's devices and of the work on them."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.joules: defaultdict[SlotId, float] = defaultdict(float)
        """The energy of each device since this server started, where it was measured."""
        self._meter = EnergyMeter()
        self._monotonic = monotonic
        self._now = now
        self._due = 0.0
        self._day = now().date()
        self._unwritten = WriteBehind(_Measured)

    def begin(self, places: Iterable[PlaceState]) -> MeteredWork | None:
        """Begin to measure work on the devices of places; None where none of them is measured."""
        return self._meter.begin({place.device.name for place in places}, self._monotonic())

    def end(self, work: MeteredWork | None, note: Callable[[Energy], None]) -> None:
        """Note that work has ended; `note` gets its energy with the next look, and is not called without one."""
        if work is not None:
            self._meter.end(work, self._monotonic(), note)

    def end_task(self, work: MeteredWork | None, task: int) -> None:
        """Note that an attempt of a task has ended; its energy is written once it is known, where all of it is."""

        def keep(energy: Energy) -> None:
            if energy.is_whole:
                self._unwritten.pending.tasks[task] += energy.joules

        self.end(work, keep)

    def note_look(self, uses: Mapping[SlotId, DeviceUse]) -> None:
        """Take one look at the devices."""
        hour = self._now().replace(minute=0, second=0, microsecond=0)
        devices = self._unwritten.pending.devices
        for device, energy in self._meter.note_look(self._monotonic(), uses).items():
            self.joules[device] += energy.joules
            at = DeviceHour(hour=hour, device=device)
            known = devices.get(at)
            devices[at] = energy if known is None else known + energy

    async def write(self, pool: Pool, *, at_once: bool = False) -> None:
        """Write what was measured, now and then. Raises: what asyncpg raises; nothing is lost then."""
        if self._monotonic() < self._due and not at_once:
            return
        await self._unwritten.flush(partial(self._send, pool))
        today = self._now().date()
        if today != self._day:
            await forget_old_energy(pool, self._now())
            self._day = today
        self._due = self._monotonic() + WRITE_EVERY_S

    async def _send(self, pool: Pool, writer: UUID, sequence: int, measured: _Measured) -> None:
        day = self._now().date()
        await write_energy(pool, writer, sequence, tasks=measured.tasks, devices=measured.devices, day=day)
