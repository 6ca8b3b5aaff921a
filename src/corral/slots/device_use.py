"""The use of a GPU as it was seen at one moment: by Corral, and by programs outside of it.

Telemetry makes these values; what follows from them for slots is decided here and in `yielding`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from corral.slots.health import NO_SIGNS, Signs
from corral.units import Bytes, format_bytes

LEAST_STEP = Bytes(256 * 2**20)
"""What others hold must change by this much, or by `STEP_SHARE` of the GPU, before the policy is asked anew."""
STEP_SHARE = 1 / 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program outside of Corral that uses a GPU; several processes of one name and user are one program."""

    name: str
    """`game.x86_64`; `process 4711` where its name cannot be read."""
    user: str | None = None
    """None where it cannot be read."""
    aliases: frozenset[str] = frozenset()
    """Other names that people know it by: those of its file and of its command."""
    memory: Bytes | None = None
    """None where the driver does not report it."""
    busy: float | None = None
    """The share of the time in which it computed since the last look, 0 to 1; None where that is not reported."""

    def __str__(self) -> str:
        return self.name if self.memory is None else f"{self.name} ({format_bytes(self.memory)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """One look at a GPU; what its driver does not report is None."""

    total: Bytes | None = None
    used: Bytes | None = None
    """By everyone, the driver's own share included."""
    own: Bytes | None = None
    """By processes of this server, of its engines, and of its instances here; None where that is unknown."""
    programs: tuple[Program, ...] = ()
    """All others, by name; the largest first."""
    busy: float | None = None
    """The share of the time in which anything computed, 0 to 1."""
    power_w: float | None = None
    """Watts that it draws."""
    energy_j: float | None = None
    """Joules that it drew since its driver was loaded."""
    temperature_c: int | None = None
    signs: Signs = NO_SIGNS
    """Its errors, as the driver reports them."""
    problem: str | None = None
    """Why the GPU cannot be used now: it is lost, say; None when it answers."""
    blind: str | None = None
    """Why Corral's own memory cannot be distinguished from that of others; None where it can."""
    located: frozenset[int] = frozenset()
    """Ports of instances here whose processes were seen on it; for others, what they report is their memory."""

    def measure_foreign(self, reported: int, *, all_reported: int) -> Bytes | None:
        """Return the bytes that are not Corral's; None when unknown.

        `reported` is what instances that are not `located` say that they hold here, `all_reported` what all engines
        say.
        """
        if self.used is None:
            return None
        own = all_reported if self.own is None else self.own + reported
        return Bytes(max(0, self.used - own))


def is_step(before: int | None, after: int | None, total: int | None) -> bool:
    """Whether a change of what others hold matters to what can start."""
    if before is None or after is None:
        return before is not after
    return abs(after - before) >= max(LEAST_STEP, (total or 0) * STEP_SHARE)


def describe_programs(programs: Iterable[Program]) -> str:
    """Name the programs that hold most, for people; empty where none is known."""
    listed = list(programs)
    names = ", ".join(map(str, listed[:2]))
    return f"{names} and {len(listed) - 2} more" if len(listed) > 2 else names
