"""The policy's questions and answers.

All instants are timezone-aware UTC; the policy never reads a clock.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from corral.cluster.values import QueueOrder
from corral.hours import Hours
from corral.scheduling.deadlines import Deadline, DeadlineId
from corral.units import Bytes
from corral.work import Priority, SlotId, TaskClass

Owner = str


class Share(StrEnum):
    """How a task shares the processor of a place (`Place.processor`) while it runs."""

    MEMORY = "memory"
    """Next to others, as long as what is measured or declared fits together."""
    ALONE = "alone"
    """Nothing else computes meanwhile; models of others stay in memory as far as they fit."""
    WHOLE = "whole"
    """Alone, and every other model on the device is given up first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A task as the policy needs it: its owner, and the fields of `corral.requests` that decide where it goes."""

    owner: Owner
    queue: str = "default"
    engine: str
    model: str | None = None
    task_class: TaskClass = TaskClass.BATCH
    priority: Priority = Priority.NORMAL
    precedence: int = 0
    """Among the tasks of its owner in the same rank: higher goes first."""
    gpus: int = 1
    """How many places of one node it takes."""
    memory: Bytes | None = None
    """Memory it needs on each place: the larger of measured and declared; None when unknown (fits anywhere)."""
    node: str | None = None
    """The only node where it can run."""
    prefer_node: str | None = None
    """The node that it would rather run on; how much time that can cost is bounded (`corral.scheduling.wishes`)."""
    deadline: DeadlineId | None = None
    """The batch that it belongs to, where that has a deadline."""
    waits_for_cheap: bool = False
    """Whether it waits for the hours in which power is cheapest, as far as its deadline allows."""
    share: Share = Share.MEMORY
    """The share that it asks for; unknown needs compute alone too (`find_share`)."""
    lasts_s: float | None = None
    """Seconds that it lasts, where that is asked for and not measured: a program that has its GPU for so long."""


def copy_demand(task: Demand) -> dict[str, Any]:  # of every field's own type
    """Return what a task asks for, by name, to hand it on to another shape of it."""
    return {member.name: getattr(task, member.name) for member in fields(Demand)}


def is_guest(number: int) -> bool:
    """Whether a number is that of a guest, an interactive request: they are negative, and never stored."""
    return number < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedTask(Demand):
    """A task that can start now as far as its dependencies, start time and backoff are concerned, or a guest."""

    id: int
    """Negative for a guest (`is_guest`)."""
    queued_at: datetime
    """When it became ready; its wait is measured from here."""
    prefer_slot: SlotId | None = None
    """Where a lost attempt ran; its job can be found again there."""
    returns_to: tuple[SlotId, ...] = ()
    """Slots that its holder still uses: it goes back to all of them before anything else starts, or ends."""
    avoid_slots: frozenset[SlotId] = frozenset()
    """Slots whose engine failed this task before; used only when no other open slot could run it."""
    refused_slots: frozenset[SlotId] = frozenset()
    """Slots that lack what this task needs; never used for it."""
    choice_of: int | None = None
    """The guest that could do with several engines or models, of which this is one: when one starts, none of the others
    does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentModel:
    """A model in a place's memory; it can be given up while the place is free."""

    engine: str
    model: str
    memory: Bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTask:
    """A task that has a lane of a place, or all of them."""

    task: int
    owner: Owner
    queue: str
    engine: str
    model: str | None
    memory: Bytes | None
    started_at: datetime
    expected_end: datetime | None
    """From the measured durations; None when nothing was measured yet."""
    share: Share = Share.MEMORY
    """The share that it asked for (`Demand.share`)."""
    gpus: int = 1
    """How many places it has."""
    lane: int = 0
    """Which of the place's lanes it has, counted from 0."""

    @property
    def work(self) -> tuple[str, str | None]:
        """Its engine, and the model that it works with."""
        return self.engine, self.model

    @property
    def shares_lanes(self) -> bool:
        """Whether tasks of the same engine and model can have the other lanes."""
        return self.gpus == 1 and self.share is not Share.WHOLE

    def __str__(self) -> str:
        return f"{name_work(self.task)} of {self.owner}"


def name_work(number: int) -> str:
    """Name a task for people; a guest has no number that they know."""
    return "a guest" if is_guest(number) else f"task {number}"


class Gate(StrEnum):
    """Whether a slot takes new tasks."""

    OPEN = "open"
    PAUSED = "paused"
    DRAINING = "draining"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where tasks of one engine and one model run at a time: a slot of a GPU, or the slots that exclude each other.

    Users see places in the API alone, where a slot's `group` is its place. It has no slots of Python's, so that it can
    be copied at once (`with_running`).
    """

    id: SlotId
    node: str
    device: str
    """The provider of the memory, unique in the cluster (`<node>/GPU-<uuid>`); places on one device share it."""
    processor: str | None = None
    """What computes here, where other places of the device compute on it too: a GPU. None where nothing else does."""
    device_model: str
    """The GPU's catalogue model, or `cpu`; durations are measured per device model."""
    capacity: Bytes | None = None
    """Memory of the device that tasks can use: total less what others hold; None when unknown."""
    excess: int = 0
    """Bytes of the device that Corral's own processes hold beyond what its places account for; on one of them alone."""
    others: str = ""
    """The programs outside of Corral that hold memory of the device, for people: `game.x86_64 (9.8 GiB)`."""
    engines: frozenset[str]
    """The engines that can run here now."""
    engine_problems: Mapping[str, str] = field(default_factory=dict[str, str])
    """Engines that are configured here and cannot run now, with the reason."""
    models: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """The only models that an engine can use here; an engine that is absent can use any."""
    resident: tuple[ResidentModel, ...] = ()
    running: tuple[RunningTask, ...] = ()
    """The tasks that have its lanes, in the order in which they began; all of one engine and one model."""
    lanes: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many tasks of one model an engine does at a time here; an engine that is absent does one."""
    gate: Gate = Gate.OPEN
    gate_reason: str = ""
    names: Mapping[str, SlotId] = field(default_factory=dict[str, SlotId])
    """The name of each engine's slot here, `node/gpu0/comfyui`; an engine that is absent goes by `id`."""
    closed: Mapping[str, Gate] = field(default_factory=dict[str, Gate])
    """Engines whose slot takes no new tasks, while those of others are open."""
    exclusive: frozenset[str] = frozenset()
    """Engines whose tasks compute alone here, whatever they ask for."""
    hours: Hours | None = None
    """When tasks can start here; None is always."""
    starts: Mapping[str, float] = field(default_factory=dict[str, float])
    """Engines whose server does not run now, with the seconds that its start takes, as measured; others start at once,
    or nothing is known."""

    def with_running(self, running: tuple[RunningTask, ...]) -> Place:
        """Return the place with this running on it, and nothing else changed; `replace` takes five times as long."""
        place = object.__new__(Place)
        vars(place).update(vars(self), running=running)
        return place

    def start_for(self, engine: str) -> float:
        """Return the seconds that a task waits for the start of its engine's server."""
        return self.starts.get(engine, 0.0)

    def lanes_for(self, engine: str) -> int:
        """Return how many tasks of one model an engine does at a time."""
        return self.lanes.get(engine, 1)

    @property
    def work(self) -> tuple[str, str | None] | None:
        """The engine and the model that it works with now; None where nothing runs."""
        return self.running[0].work if self.running else None

    @property
    def has_free_lane(self) -> bool:
        """Whether the tasks that run leave a lane to tasks of its engine and model; not where nothing runs."""
        running = self.running
        return bool(running) and len(running) < self.lanes_for(running[0].engine) and running[0].shares_lanes

    def name_for(self, engine: str) -> SlotId:
        """Return the name of an engine's slot."""
        return self.names.get(engine, self.id)

    def gate_for(self, engine: str) -> Gate:
        """Return whether an engine's slot takes new tasks."""
        return self.closed.get(engine, Gate.OPEN) if self.gate is Gate.OPEN else self.gate

    def has_model(self, engine: str, model: str | None) -> bool:
        """Whether an engine can use a model here."""
        return model is None or engine not in self.models or model in self.models[engine]

    def is_on(self, node: str | None) -> bool:
        """Whether it is on a node; None is any."""
        return node is None or self.node == node

    def is_among(self, names: Container[SlotId], engine: str) -> bool:
        """Whether an engine's slot is among those named, by its own name or by that of the place."""
        return self.id in names or (bool(self.names) and self.name_for(engine) in names)


def find_share(work: Demand | RunningTask, place: Place) -> Share:
    """Return how a task shares the place's processor: alone where it is unknown whether it fits next to others."""
    if work.share is Share.MEMORY and (work.memory is None or place.capacity is None or work.engine in place.exclusive):
        return Share.ALONE
    return work.share


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue's rules, from the cluster file, and its present state."""

    name: str
    pool: frozenset[SlotId] | None = None
    """The slots it uses, by the names of engines' slots or of places; None means every slot."""
    order: QueueOrder = QueueOrder.PRIORITY
    paused: bool = False
    hours: Hours | None = None
    """When its tasks can start, in addition to the hours of places; None is always."""
    max_running_per_owner: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyBounds:
    """Bounds of the policy. The defaults are starting points, to be tuned with the policy benchmark."""

    promote_after: timedelta = timedelta(hours=1)
    """A batch task that waited longer goes with the interactive ones (gpu-broker's max_wait is 3600 s)."""
    affinity_window: int = 32
    """How many tasks ahead the policy looks for one whose model is resident (InvokeAI looks at 32)."""
    affinity_delay: timedelta = timedelta(seconds=120)
    """How long a task can be passed over for one turn of another model, at least; see `affinity`."""
    node_wish: timedelta = timedelta(seconds=120)
    """How much later a task can end for its preferred node: as much as for a model in memory, which it is worth."""
    model_stay: timedelta = timedelta(minutes=5)
    """How long a model that a person used can keep batch tasks waiting, however often it is used again: with twice as
    long, an agent waits half as long again in the workload *one GPU* (`python -m benchmarks.policies`)."""
    model_wait: timedelta = timedelta(days=1)
    """How long a task waits for a model that no server has, before it fails: a night, and the day after it."""
    cheap_hours: Hours | None = None
    """When power is cheapest; None where it has one price."""
    deadline_slack: timedelta = timedelta(minutes=30)
    """With less slack than this a batch with a deadline is urgent, whatever it needs; see `deadlines`."""
    unknown_duration_s: float = 60.0
    """Charged and expected where nothing was measured (gpu-broker charges 60 s)."""
    unknown_before_closing: timedelta = timedelta(hours=1)
    """How long before hours end a task can start of which nothing was measured: a minute would be too little for what
    must not run on. Of openings that are shorter than twice that, half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FairShare:
    """Start-time fair queuing between owners: virtual seconds that each has been charged; no banked credit."""

    virtual_time: float = 0.0
    charged: Mapping[Owner, float] = field(default_factory=dict[Owner, float])
    promoted_lead: float = 0.0
    """Slot-seconds that promoted tasks got above interactive ones while both waited; the two share evenly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Since when a place has worked with one model; how long it can go on while others wait is counted from here."""

    engine: str
    model: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """How a model is used (`corral.scheduling.model_use`)."""

    asked: float = 0.0
    """How often it was asked for, as of `asked_at`; what is long ago counts little."""
    asked_at: datetime
    load_s: float | None = None
    """Seconds that loading takes, measured; None when unknown."""
    stays_until: datetime | None = None
    """Until when it stays for a person who used it; None where none did."""
    idle_until: datetime | None = None
    """The same where its device has nothing else to do; earlier."""


class DurationKey(NamedTuple):
    """The key by which durations are measured; a tuple, because it is looked up many times in each decision."""

    engine: str
    model: str | None
    device_model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that one decision depends on."""

    now: datetime
    tasks: tuple[QueuedTask, ...]
    """Candidates, in any order; a bounded selection of what is queued (`corral.scheduling.backlog`)."""
    places: Collection[Place]
    """All places; a `PlaceTable` that is kept from one decision to the next saves the policy a look at each."""
    queues: Mapping[str, Queue]
    """A queue that a task names and that is missing here is a queue with default rules."""
    durations: Mapping[DurationKey, float] = field(default_factory=dict[DurationKey, float])
    """Expected seconds of a task, measured; keys that were never measured are absent."""
    fair: FairShare = FairShare()
    deadlines: Mapping[DeadlineId, Deadline] = field(default_factory=dict[DeadlineId, Deadline])
    """Deadlines of batches; one that a task names and that is missing here is not urgent."""
    passed_since: Mapping[int, datetime] = field(default_factory=dict[int, datetime])
    """Since when a task has been passed over for a resident model or its preferred node, by task id."""
    turns: Mapping[SlotId, Turn] = field(default_factory=dict[SlotId, Turn])
    """The present turn of each place; absent where the policy has not loaded a model, such as after a start."""
    uses: Mapping[tuple[str, str | None], ModelUse] = field(default_factory=dict[tuple[str, str | None], ModelUse])
    """How models are used, by engine and model; absent where nothing is known."""
    kept_since: Mapping[tuple[str, str | None], datetime] = field(
        default_factory=dict[tuple[str, str | None], datetime]
    )
    """Since when models that stay for a person have kept batch tasks waiting."""
    bounds: PolicyBounds = PolicyBounds()
    most_starts: int | None = None
    """The decision ends after so many assignments; the next one goes on. It bounds what one decision takes."""


class Rule(StrEnum):
    """Why a task was left waiting; a stable word for programs."""

    NO_ENGINE = "no_engine"
    MODEL_MISSING = "model_missing"
    """The engine works, and no server that it can be sent to has the model."""
    NODE_MISSING = "node_missing"
    """It must run on one node, and no slot that its queue and engine could use works there."""
    NO_FIT = "no_fit"
    QUEUE_PAUSED = "queue_paused"
    OWNER_LIMIT = "owner_limit"
    CHEAP_HOURS = "cheap_hours"
    """It waits for cheaper power, and its deadline allows that."""
    SLOTS_CLOSED = "slots_closed"
    OUTSIDE_HOURS = "outside_hours"
    """Its queue, or the slots that could run it, are outside of their hours."""
    CLOSES_SOON = "closes_soon"
    """A slot is free, and its hours or those of the queue end before the task should."""
    SLOTS_BUSY = "slots_busy"
    NODE_BUSY = "node_busy"
    """It must run on one node, whose slots are busy; without that, a slot elsewhere could have it."""
    BEHIND_OTHERS = "behind_others"
    RESERVED = "reserved"
    """The places it would take are kept for a task that needs several GPUs."""
    GATHERING = "gathering"
    """It needs several GPUs; they are reserved for it as they become free."""
    AFFINITY = "affinity"
    """A task whose model is already resident went first; for how long is bounded (`affinity`)."""
    LANES_DRAIN = "lanes_drain"
    """A lane is free next to tasks of its model; one that goes first waits for the slot to be empty."""
    FASTER_SOON = "faster_soon"
    """A slower slot is free, but faster ones should have done all that waits before it could finish this one task."""
    PREFERRED_NODE = "preferred_node"
    """A slot elsewhere is free, and its preferred node should have one soon enough (`PolicyBounds.node_wish`)."""
    MODEL_STAYS = "model_stays"
    """A person used a model just now that must be given up for it; for how long it stays is bounded (`model_use`)."""
    STARTING = "starting"
    """It does not wait: the next decision starts it. Only explanations have this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Start this task on these places (one, unless it needs several GPUs)."""

    task: int
    places: tuple[SlotId, ...]
    evict: tuple[tuple[SlotId, ResidentModel], ...] = ()
    """Residents to give up first, because the task does not fit next to them."""
    expected_s: float
    """Seconds that the owner was charged, per place."""
    because: str
    """Why this place, in a few words: `model resident`, `fastest measured`, `least memory left over`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The tasks to start now, those that wait and why, and the state that the next decision needs."""

    assignments: tuple[Assignment, ...]
    waiting: Mapping[int, Rule]
    fair: FairShare
    passed_since: Mapping[int, datetime]
    turns: Mapping[SlotId, Turn] = field(default_factory=dict[SlotId, Turn])
    kept_since: Mapping[tuple[str, str | None], datetime] = field(
        default_factory=dict[tuple[str, str | None], datetime]
    )
    """As in `Snapshot`."""
    ask_again_at: datetime | None = None
    """When a model that keeps a task waiting stays no longer; None where none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why one task waits, for people and programs."""

    task: int
    rule: Rule
    summary: str
    """One sentence, lower case, with the values seen."""
    slots: Mapping[SlotId, str]
    """For every slot of its engine, why it is not given to the task now."""
    since: datetime
    may_start_at: datetime | None
    """From the measured durations; None when nothing can be said."""
    ahead: int | None = None
    """Queued tasks that go first on slots that it could have; None when it cannot start without a person."""
