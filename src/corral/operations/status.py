"""How a server is, on one screen: itself, its queue, its slots, and what needs a person."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from corral.scheduling.deadlines import Verdict
from corral.scheduling.estimating import Estimator, WaitingWork
from corral.scheduling.values import Gate, RunningTask, is_guest
from corral.slots.values import PlaceView, SlotView, find_gate, find_hours_around
from corral.telemetry.doctor import DISK_SPENT, DISK_TIGHT
from corral.units import Bytes, format_bytes
from corral.work import SlotId

QUEUED = "queued"
_WAITING = frozenset({"waiting", QUEUED})
"""States of tasks that have not started."""


class OpenWork(Protocol):
    """Open tasks of one kind in one state, as the queue counts them."""

    @property
    def queue(self) -> str: ...
    @property
    def engine(self) -> str: ...
    @property
    def model(self) -> str | None: ...
    @property
    def node(self) -> str | None: ...
    @property
    def state(self) -> str: ...
    @property
    def tasks(self) -> int: ...
    @property
    def slots(self) -> int:
        """Slots that they take: a task on two GPUs counts twice."""
        ...

    @property
    def since(self) -> datetime:
        """When the first of them was queued, or was made where it is not queued yet."""
        ...


class NamedTask(Protocol):
    """The name of a task, and its batch."""

    @property
    def name(self) -> str: ...
    @property
    def batch(self) -> int | None: ...


class Advance(Protocol):
    """How far a task is."""

    @property
    def fraction(self) -> float | None: ...
    @property
    def note(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file system of the data directory."""

    free: Bytes
    """Bytes that this user can still write."""
    total: Bytes
    reserve: Bytes
    """Bytes that are kept free: below them nothing starts, and uploads are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """A queue, and how much is in it."""

    name: str
    gate: Gate
    waiting: int
    """Tasks that wait for a slot, another task or their time."""
    running: int
    oldest_at: datetime | None
    """Since when the task that waits longest for a slot is queued; null where none waits for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOnSlot:
    """The task or guest that a slot works on."""

    id: int | None
    """Null for a guest: a request through the gateway."""
    name: str | None
    """Of a guest its label; null when a task was collected meanwhile."""
    batch: int | None
    owner: str
    model: str | None
    started_at: datetime
    expected_end: datetime | None
    fraction: float | None
    """Progress from 0 to 1; null where the engine cannot know."""
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotStatus:
    """A slot, and the work on it."""

    id: SlotId
    engine: str
    device_model: str
    gate: Gate
    problem: str | None
    """Why the engine does not work; null when it does."""
    opens_at: datetime | None
    """When its hours begin; null within them, and without any."""
    closes_at: datetime | None
    """When its hours end next; null where they do not."""
    resident: tuple[str, ...]
    """Models in its memory."""
    lanes: int
    """Tasks of one model that it does at a time."""
    lanes_taken: int
    task: TaskOnSlot | None
    """Of several, the one that it has worked on for longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineStatus:
    """A batch with a deadline that is not done."""

    batch: int
    name: str
    owner: str
    by: datetime
    time_zone: str
    """The zone in which the deadline's time of the clock is meant."""
    verdict: Verdict
    open: int
    """Its tasks that have not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One thing that needs a person."""

    code: str
    """A stable word."""
    what: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerStatus:
    """A port of its own for the clients of other programs."""

    name: str
    """The key of `gateway` in the cluster file."""
    port: int
    address: str
    """Where it listens; empty for every address."""
    owner: str | None
    """For whom requests without a key speak; null where a key is needed as on the main port."""
    allow: tuple[str, ...]
    """The networks that are answered; empty for any that reach it."""
    api: str | None
    """The server that `/api` is passed to; null where the listener is a door."""
    tls: bool
    """Whether it is encrypted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusAnswer:
    """A server, its queue and its slots."""

    name: str
    """The cluster's name."""
    version: str
    started_at: datetime
    owner: str
    """Whom this request speaks for."""
    role: str
    leading: bool
    """Whether this server's dispatcher acts; another one on the same database does where it is false."""
    trusts_loopback: bool
    """Whether requests of this machine without a token are those of the administrator `local`."""
    listeners: tuple[ListenerStatus, ...]
    data_dir: str
    database_bytes: Bytes
    disk: Disk
    counts: Mapping[str, Mapping[str, int]]
    """Open tasks by queue and state."""
    waiting: int
    running: int
    oldest_at: datetime | None
    """As in a queue, over all of them."""
    expected_end: datetime | None
    """When everything would be done at the earliest, by what was measured; null when unknown, or with no open task."""
    queues: tuple[QueueStatus, ...]
    slots: tuple[SlotStatus, ...]
    """Those that work first, then those with a problem."""
    deadlines: tuple[DeadlineStatus, ...]
    """The earliest first."""
    alarms: tuple[Alarm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A running server as it was seen."""

    name: str
    version: str
    started_at: datetime
    owner: str
    role: str
    leading: bool
    trusts_loopback: bool
    listeners: Sequence[ListenerStatus]
    data_dir: Path
    database_bytes: Bytes
    disk: Disk
    queues: Sequence[str]
    """Those of the cluster file."""
    queue_gates: Mapping[str, Gate]
    slot_gates: Mapping[SlotId, Gate]
    work: Sequence[OpenWork]
    places: Sequence[PlaceView]
    now: datetime
    names: Mapping[int, NamedTask]
    """Of the tasks that run, by their ids; as `progress`."""
    progress: Mapping[int, Advance]
    deadlines: Sequence[DeadlineStatus]
    alarms: Sequence[Alarm]
    """Those that parts of the server raised."""


def describe(seen: Observed, estimate: Estimator) -> StatusAnswer:
    """Describe a server by what was seen of it."""
    queues = tuple(_describe_queues(seen.queues, seen.queue_gates, seen.work))
    slots = tuple(sorted(_describe_slots(seen), key=_order))
    return StatusAnswer(
        name=seen.name,
        version=seen.version,
        started_at=seen.started_at,
        owner=seen.owner,
        role=seen.role,
        leading=seen.leading,
        trusts_loopback=seen.trusts_loopback,
        listeners=tuple(seen.listeners),
        data_dir=str(seen.data_dir),
        database_bytes=seen.database_bytes,
        disk=seen.disk,
        counts=_count_states(seen.work),
        waiting=sum(queue.waiting for queue in queues),
        running=sum(queue.running for queue in queues),
        oldest_at=min((queue.oldest_at for queue in queues if queue.oldest_at), default=None),
        expected_end=estimate(list_waiting(seen.work)).ends_at,
        queues=queues,
        slots=slots,
        deadlines=tuple(sorted(seen.deadlines, key=lambda deadline: (deadline.by, deadline.batch))),
        alarms=(*seen.alarms, *judge(seen.disk, seen.data_dir, queues, slots)),
    )


def measure_disk(folder: Path, *, reserve: Bytes) -> Disk:
    """Measure the file system that holds a folder."""
    usage = shutil.disk_usage(folder)
    return Disk(free=Bytes(usage.free), total=Bytes(usage.total), reserve=reserve)


def list_waiting(work: Iterable[OpenWork]) -> list[WaitingWork]:
    """Return the work that has not started."""
    return [
        WaitingWork(queue=part.queue, engine=part.engine, model=part.model, node=part.node, count=part.slots)
        for part in work
        if part.state in _WAITING
    ]


def judge(disk: Disk, data_dir: Path, queues: Iterable[QueueStatus], slots: Iterable[SlotStatus]) -> Iterator[Alarm]:
    """Find what needs a person; pure."""
    spent = max(DISK_SPENT, disk.reserve)
    if disk.free < max(DISK_TIGHT, spent):
        stopped = f"; nothing starts and no upload is taken below {format_bytes(disk.reserve)}"
        yield Alarm(
            code="disk_full" if disk.free < spent else "disk_low",
            what=f"{format_bytes(disk.free)} of {format_bytes(disk.total)} are free for {data_dir}{stopped}",
            hint="run `corral gc`, delete uploads (`corral uploads rm`) or models (`corral models rm`), or move the"
            " data directory to a larger disk",
        )
    for queue in queues:
        if queue.gate is not Gate.OPEN and queue.waiting:
            yield Alarm(
                code="queue_closed",
                what=f"queue {queue.name} is {queue.gate}, tasks that wait in it: {queue.waiting}",
                hint=f"run `corral queues resume {queue.name}` when they can start",
            )
    for slot in slots:
        if slot.problem:
            yield Alarm(code="slot_problem", what=f"{slot.id}: {slot.problem}", hint="run `corral doctor`")


def _describe_queues(
    names: Iterable[str], gates: Mapping[str, Gate], work: Sequence[OpenWork]
) -> Iterator[QueueStatus]:
    for name in sorted({*names, *(part.queue for part in work)}):
        own = [part for part in work if part.queue == name]
        yield QueueStatus(
            name=name,
            gate=gates.get(name, Gate.OPEN),
            waiting=sum(part.tasks for part in own if part.state in _WAITING),
            running=sum(part.tasks for part in own if part.state not in _WAITING),
            oldest_at=min((part.since for part in own if part.state == QUEUED), default=None),
        )


def _count_states(work: Iterable[OpenWork]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for part in work:
        states = counts.setdefault(part.queue, {})
        states[part.state] = states.get(part.state, 0) + part.tasks
    return counts


def _describe_slots(seen: Observed) -> Iterator[SlotStatus]:
    for place in seen.places:
        running = place.facts.running
        opens_at, closes_at = find_hours_around(place.facts, seen.now)
        for slot in place.slots:
            tasks = [work for work in running if work.engine == slot.spec.engine]
            own = tasks[0] if tasks else None
            yield SlotStatus(
                id=slot.spec.id,
                engine=slot.spec.engine,
                device_model=place.device.model,
                gate=_choose_gate(place, slot, seen.slot_gates),
                problem=slot.problem,
                opens_at=opens_at,
                closes_at=closes_at,
                resident=tuple(resident.model for resident in slot.resident),
                lanes=slot.lanes,
                lanes_taken=len(tasks),
                task=None
                if own is None
                else _describe_task(
                    own, seen.names.get(own.task), seen.progress.get(own.task), _find_guest_label(place, own)
                ),
            )


def _find_guest_label(place: PlaceView, running: RunningTask) -> str | None:
    """Find what a guest is called; None for a task."""
    return next((hold.label for hold in place.holds if is_guest(running.task) and hold.task == running), None)


def _choose_gate(place: PlaceView, slot: SlotView, gates: Mapping[SlotId, Gate]) -> Gate:
    """Return what was observed where that closes the slot, else what people set."""
    return slot.gate if place.facts.gate_reason else find_gate(slot.spec, gates)


def _describe_task(
    running: RunningTask, name: NamedTask | None, progress: Advance | None, label: str | None
) -> TaskOnSlot:
    return TaskOnSlot(
        id=None if is_guest(running.task) else running.task,
        name=label if name is None else name.name,
        batch=None if name is None else name.batch,
        owner=running.owner,
        model=running.model,
        started_at=running.started_at,
        expected_end=running.expected_end,
        fraction=None if progress is None else progress.fraction,
        note=progress.note if progress else "",
    )


def _order(slot: SlotStatus) -> tuple[bool, bool, str]:
    return slot.task is None, slot.problem is None, slot.id
