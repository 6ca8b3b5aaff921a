"""The values that a simulation takes and returns. Time is in seconds from the start of the trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from corral.scheduling.deadlines import DeadlineId
from corral.scheduling.durations import History
from corral.scheduling.values import Decision, Demand, Place, PolicyBounds, Queue, Snapshot
from corral.units import Bytes
from corral.work import SlotId

START = datetime(2026, 1, 1, tzinfo=UTC)
"""The policy's time at second 0, where a trace names no other; only hours depend on which instant it is."""

Policy = Callable[[Snapshot], Decision]
"""`corral.scheduling.policy.decide`, or a rival that answers the same question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival(Demand):
    """A task, when it arrives, and how long it will really take."""

    id: int
    at_s: float
    seconds: Mapping[str, float]
    """True duration without loading, by device model; `*` is any other."""
    needs: tuple[int, ...] = ()
    """Tasks that must end first; its wait is counted from then."""
    fails_after_s: tuple[float, ...] = ()
    """How long each of its first attempts computes, without loading, before it fails by itself; later ones succeed."""
    max_attempts: int = 3
    """As many failed attempts end the task."""

    def on(self, device_model: str) -> float | None:
        """How long it takes on a device model, in seconds; None when nothing is said about it."""
        return self.seconds.get(device_model, self.seconds.get("*"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A place that is away for a while; what ran there is lost and queued again, after its backoff."""

    place: SlotId
    from_s: float
    until_s: float
    """`inf` when it does not come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How long a model takes to load."""

    engine: str
    model: str | None
    seconds: float
    memory: Bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A whole workload."""

    arrivals: tuple[Arrival, ...]
    """In order of `at_s`."""
    places: tuple[Place, ...]
    """At the start: idle, with what is resident."""
    queues: Mapping[str, Queue] = field(default_factory=dict[str, Queue])
    loads: tuple[Load, ...] = ()
    """A model that is not listed loads in no time."""
    outages: tuple[Outage, ...] = ()
    history: History = field(default_factory=History)
    """Durations measured before the trace starts; the simulator goes on measuring."""
    bounds: PolicyBounds = field(default_factory=PolicyBounds)
    deadlines: Mapping[DeadlineId, datetime] = field(default_factory=dict[DeadlineId, datetime])
    """When what has a deadline should be done."""
    start: datetime = START
    """The instant of second 0, which decides what the hours of places and queues mean."""
    slowdown: Mapping[SlotId, float] = field(default_factory=dict[SlotId, float])
    """How many times as long tasks take on a place, such as 1.1 under a power limit; 1 where nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One attempt on its places."""

    task: int
    places: tuple[SlotId, ...]
    from_s: float
    until_s: float
    load_s: float
    """Of that, loading the model; 0 when it was resident."""
    lost: bool = False
    """It brought no result: its place went away, or it failed by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The result of a trace."""

    spans: tuple[Span, ...]
    """In order of `from_s`."""
    unfinished: tuple[int, ...] = ()
    """Tasks that nothing could run."""
    because: Mapping[int, str] = field(default_factory=dict[int, str])
    """For each unfinished task, the `Rule` that kept it waiting at the end, the task it needed, or how it failed."""
    places: tuple[Place, ...] = ()
    """At the end, with what is resident."""
    history: History = field(default_factory=History)
    """Durations measured before and during the run."""
