"""The rules by which the dispatcher works: those of the cluster file, and its own waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from corral.cluster.yields import YieldTo
from corral.scheduling.values import PolicyBounds, Queue
from corral.tasks.leadership import Rhythm
from corral.units import Bytes
from corral.work import SlotId


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestRules:
    """The cluster file's rules for interactive requests."""

    wait_s: float = 60.0
    """How long one waits at most, unless it asks for another time."""
    preempt_after_s: float | None = None
    """One that would wait longer interrupts a batch task; None where none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchRules:
    """The cluster file's settings of dispatching."""

    queues: Mapping[str, Queue]
    bounds: PolicyBounds = field(default_factory=PolicyBounds)
    guests: GuestRules = field(default_factory=GuestRules)
    disk_reserve: Bytes = field(default=Bytes(0))
    """Free bytes below which nothing starts."""
    yields: Mapping[SlotId, YieldTo] = field(default_factory=dict[SlotId, YieldTo])
    """By device: the programs and users that it is given to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """The dispatcher's waits; tests shorten them."""

    lease_ttl: timedelta = timedelta(seconds=60)
    """Longer than a database restart or a stalled disk. A server that dies frees its tasks sooner (`Dispatcher`)."""
    heartbeat_s: float = 15.0
    safety_poll_s: float = 5.0
    """How often the picture in memory is compared with the database: a notification was lost, a clock jumped."""
    retry_s: float = 0.5
    """Wait between tries while the database does not answer."""
    stop_grace_s: float = 10.0
    """How long a cancelled engine can take to stop before it is killed."""
    rhythm: Rhythm = field(default_factory=Rhythm)
