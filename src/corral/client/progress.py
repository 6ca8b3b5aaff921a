"""A batch's tasks and slots as they were seen last, read from the HTTP API's answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from corral.work import Json

ENDED = frozenset({"succeeded", "failed", "cancelled"})
ACTIVE = frozenset({"leased", "running"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file that a task made."""

    name: str
    sha256: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """One task of the batch as it was seen last."""

    id: int
    name: str
    engine: str
    model: str | None = None
    state: str = "queued"
    inputs: Mapping[str, Json]
    slots: tuple[str, ...] = ()
    ready_at: datetime | None = None
    """When it could have started at the earliest."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failed_attempts: int = 0
    error: Json = None
    result: Json = None
    outputs: tuple[Output, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether it is in a state without exits."""
        return self.state in ENDED

    @property
    def ran_s(self) -> float | None:
        """Seconds from its last start to its end; None when it never ran or still runs."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.started_at).total_seconds())

    @property
    def waited_s(self) -> float | None:
        """Seconds that it waited for a slot after nothing else held it; None when it never ran."""
        if self.started_at is None or self.ready_at is None:
            return None
        return max(0.0, (self.started_at - self.ready_at).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotView:
    """A lane, where one task runs at a time, as it was seen last."""

    id: str
    """The group of slots that are occupied one at a time, `node/gpu0`, and the lane where there are several."""
    device: str = ""
    gate: str = "open"
    task: int | None = None
    """The task that runs on it, of this batch or another."""
    engine: str | None = None
    owner: str | None = None
    expected_end: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProgress:
    """How far a running task is."""

    task: int
    fraction: float | None
    note: str = ""


def to_task_view(answer: Json) -> TaskView:
    """Read a task of the HTTP API."""
    return TaskView(
        id=answer["id"],
        name=answer["name"],
        engine=answer["engine"],
        model=answer.get("model"),
        state=answer["state"],
        inputs=answer.get("inputs") or {},
        slots=tuple(answer.get("slots") or ()),
        ready_at=parse_instant(answer.get("ready_at") or answer.get("queued_at") or answer.get("created_at")),
        started_at=parse_instant(answer.get("started_at")),
        finished_at=parse_instant(answer.get("finished_at")),
        failed_attempts=answer.get("attempts") or 0,
        error=answer.get("error"),
        result=answer.get("result"),
        outputs=tuple(_to_output(output) for output in answer.get("outputs") or ()),
    )


def to_slot_views(answer: Json) -> list[SlotView]:
    """Read the slots of the HTTP API: of those that are occupied one at a time, one view for each lane."""
    groups: dict[str, list[Json]] = {}
    for slot in answer["items"]:
        groups.setdefault(slot.get("group") or slot["id"], []).append(slot)
    return [view for group, slots in groups.items() for view in _to_slot_views(group, slots)]


def _to_slot_views(group: str, slots: Sequence[Json]) -> list[SlotView]:
    busy: Json = next((slot for slot in slots if slot.get("running")), None)
    shown: Json = busy or next((slot for slot in slots if slot["gate"] == "open"), slots[0])
    held: Json = shown.get("held") or {}
    running: Json = shown.get("running")
    tasks: list[Json] = shown.get("tasks") or ([running] if running else [])  # older servers report the first alone
    lanes = max(1 if held else shown.get("lanes") or 1, len(tasks))
    names = [group] if lanes == 1 else [f"{group} lane {lane + 1}" for lane in range(lanes)]
    return [
        _to_slot_view(name, shown, held, tasks[lane] if lane < len(tasks) else {}) for lane, name in enumerate(names)
    ]


def _to_slot_view(name: str, shown: Json, held: Json, running: Json) -> SlotView:
    return SlotView(
        id=name,
        device=shown.get("device_model") or shown.get("device") or "",
        gate=shown.get("gate") or "open",
        task=running.get("task") or held.get("task"),
        engine=shown.get("engine") if running else None,
        owner=running.get("owner") or held.get("owner"),
        expected_end=parse_instant(running.get("expected_end")),
    )


def to_task_progress(answer: Json) -> TaskProgress:
    """Read the progress of a task."""
    return TaskProgress(task=answer["task"], fraction=answer.get("fraction"), note=answer.get("note") or "")


def parse_instant(text: Json) -> datetime | None:
    """Read an instant of the HTTP API; None where there is none."""
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def _to_output(answer: Json) -> Output:
    return Output(
        name=answer["name"], sha256=answer["sha256"], size=answer["size"], media_type=answer.get("media_type") or ""
    )


class BatchProgress:
    """Tasks, slots and progress as they were seen last; one per run, changed by its follower alone."""

    def __init__(self) -> None:
        self.tasks: dict[int, TaskView] = {}
        self.slots: dict[str, SlotView] = {}
        self.task_progress: dict[int, TaskProgress] = {}
        self.note = ""
        """The state of the connection, as far as it is worth knowing; empty when all is well."""

    @property
    def all(self) -> list[TaskView]:
        """The tasks, by number."""
        return [self.tasks[id] for id in sorted(self.tasks)]

    @property
    def done(self) -> bool:
        """Whether every task has ended."""
        return bool(self.tasks) and all(task.ended for task in self.tasks.values())

    def take(self, seen: Iterable[TaskView]) -> list[TaskView]:
        """Note how tasks are now; return those that ended since they were seen last."""
        ended: list[TaskView] = []
        for task in seen:
            before = self.tasks.get(task.id)
            if before is not None and before.ended:
                continue  # the end is final: what comes later was only read earlier
            self.tasks[task.id] = task
            if task.ended:
                self.task_progress.pop(task.id, None)
                ended.append(task)
        return ended

    def show_slots(self, slots: Iterable[SlotView]) -> None:
        """Replace the view of the slots."""
        self.slots = {slot.id: slot for slot in slots}

    def show_progress(self, progress: TaskProgress) -> None:
        """Note how far a task is, unless it ended meanwhile."""
        task = self.tasks.get(progress.task)
        if task is None or not task.ended:
            self.task_progress[progress.task] = progress

    def count_usable_slots(self) -> int:
        """Count the slots that this batch can count on: open ones that run its tasks or nothing; at least 1."""
        usable = [
            slot
            for slot in self.slots.values()
            if slot.gate == "open" and (slot.task is None or slot.task in self.tasks)
        ]
        return max(1, len(usable))
