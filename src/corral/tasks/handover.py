"""Handing devices over to a program: the driver's own figures show their memory free, or the holder does not start.

What Corral holds there was given up before; an engine frees memory some time after it says so, and a program that is
not Corral's frees none. So the figures are looked at until there is room, for a bounded time; then the reason names who
still has the memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from corral.errors import Kind
from corral.slots.device_use import DeviceUse, describe_programs
from corral.units import Bytes, format_bytes
from corral.work import EngineError, FailureScope, Reporter, Work

WAIT_S = 60.0
"""How long memory can take to become free; a server that unloads 40 GiB takes some seconds."""
LOOK_EVERY_S = 0.5
SLACK = 0.05
"""Of a whole device, the share that can stay taken: contexts of servers that are idle, 0.3 to 0.6 GiB each."""


class DeviceBusyError(EngineError):
    """The memory of a device did not become free in time."""

    code: ClassVar[str] = "hold.device_busy"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY
    scope: ClassVar[FailureScope] = FailureScope.WAIT


LookAtDevice = Callable[[str], Awaitable[DeviceUse | None]]
"""Looks at a device by the name that `Work.devices` has; None where its driver gives no figures."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Waits until devices are free."""

    look: LookAtDevice
    find_capacity: Callable[[str], Bytes | None]
    """The part of a device's memory that Corral can give away now; None where that is unknown."""
    wait_s: float = WAIT_S
    look_every_s: float = LOOK_EVERY_S

    async def wait_until_free(self, work: Work, report: Reporter) -> str:
        """Return once the devices have the memory that the work asks for, or all of theirs, and what was seen of it.

        Raises: DeviceBusyError.
        """
        deadline = asyncio.get_running_loop().time() + self.wait_s
        free = [await self._wait_for(device, work, report, deadline) for device in work.devices]
        known = [size for size in free if size is not None]
        if len(known) < len(free):
            return "memory not checked: the driver reports none"
        return f"{', '.join(map(format_bytes, known))} free, checked" if known else ""

    async def _wait_for(self, device: str, work: Work, report: Reporter, deadline: float) -> Bytes | None:
        """Return the free bytes of one device once they are enough; None where they are unknown."""
        while True:
            seen = await self.look(device)
            lack = self._find_lack(device, work, seen)
            if lack is None:
                return None if seen is None else _find_free(seen)
            report.progress(None, lack)
            if asyncio.get_running_loop().time() >= deadline:
                raise DeviceBusyError(
                    f"after {self.wait_s:g} s, {lack}",
                    where=work.slots[0] if work.slots else None,
                    hint="stop what holds it, or ask for less with `--memory`",
                )
            await asyncio.sleep(self.look_every_s)

    def _find_lack(self, device: str, work: Work, seen: DeviceUse | None) -> str | None:
        free = None if seen is None else _find_free(seen)
        if seen is None or seen.total is None or free is None:
            return None
        wanted = work.memory
        if wanted is None:
            capacity = self.find_capacity(device)
            wanted = Bytes(int((seen.total if capacity is None else capacity) - SLACK * seen.total))
        if free >= wanted:
            return None
        engines = f"Corral's engines ({format_bytes(seen.own)})" if seen.own else ""
        holders = " and ".join(filter(None, (describe_programs(seen.programs), engines)))
        return f"{format_bytes(free)} of {format_bytes(wanted)} are free" + (f"; held by {holders}" if holders else "")


def _find_free(seen: DeviceUse) -> Bytes | None:
    """Return the free bytes of a device; None where its driver does not report them."""
    return None if seen.total is None or seen.used is None else Bytes(max(0, seen.total - seen.used))
