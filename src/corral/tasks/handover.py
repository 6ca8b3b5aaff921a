"""Handing devices over to a program: the driver's own figures show their memory free, or the holder does not start.

What Corral holds there was given up before; an engine frees memory some time after it says so, and a program that is
not Corral's frees none. So the figures are looked at until there is room, for a bounded time; then the reason names who
still has the memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from corral.errors import Kind
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


class MemorySeen(Protocol):
    """The memory of a device at one moment, by its driver."""

    @property
    def total(self) -> Bytes | None: ...
    @property
    def used(self) -> Bytes | None:
        """By everyone."""
        ...

    @property
    def holders(self) -> str:
        """The programs that hold most of it, for people; empty where they are unknown."""
        ...


LookAtDevice = Callable[[str], Awaitable[MemorySeen | None]]
"""Looks at a device by the name that `Work.devices` has; None where its driver gives no figures."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Waits until devices are free."""

    look: LookAtDevice
    find_capacity: Callable[[str], Bytes | None]
    """The part of a device's memory that Corral can give away now; None where that is unknown."""
    wait_s: float = WAIT_S
    look_every_s: float = LOOK_EVERY_S

    async def wait_until_free(self, work: Work, report: Reporter) -> None:
        """Return once the devices have the memory that the work asks for, or all of theirs. Raises: DeviceBusyError."""
        deadline = asyncio.get_running_loop().time() + self.wait_s
        for device in work.devices:
            while (lack := self._find_lack(device, work, await self.look(device))) is not None:
                report.progress(None, lack)
                if asyncio.get_running_loop().time() >= deadline:
                    raise DeviceBusyError(
                        f"{lack} after {self.wait_s:g} s",
                        where=work.slots[0] if work.slots else None,
                        hint="stop what holds it, or ask for less with `--memory`",
                    )
                await asyncio.sleep(self.look_every_s)

    def _find_lack(self, device: str, work: Work, seen: MemorySeen | None) -> str | None:
        if seen is None or seen.total is None or seen.used is None:
            return None
        free = seen.total - seen.used
        wanted = work.memory
        if wanted is None:
            capacity = self.find_capacity(device)
            wanted = Bytes(int((seen.total if capacity is None else capacity) - SLACK * seen.total))
        if free >= wanted:
            return None
        holders = f"; {seen.holders} still hold memory" if seen.holders else ""
        return f"{format_bytes(max(0, free))} of {format_bytes(wanted)} are free{holders}"
