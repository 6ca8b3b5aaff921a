"""What is submitted to the queue, and what the queue tells about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType

from corral.errors import Problem
from corral.scheduling.values import Priority, TaskClass
from corral.tasks.lifecycle import TERMINAL, TaskState
from corral.units import Bytes
from corral.work import Json, SlotId

Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits; names content."""

DEFAULT_TIMEOUT_S = 3600.0
DEFAULT_MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class UploadRef:
    """An input file that was uploaded before."""

    upload: Sha256


@dataclass(frozen=True, slots=True)
class OutputRef:
    """An input file that another task makes; that task becomes a need."""

    task: str | int
    """A name in the same batch, or the id of any task."""
    output: str


FileRef = UploadRef | OutputRef


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One task as it is submitted."""

    name: str
    engine: str
    model: str | None = None
    inputs: Mapping[str, Json] = field(default_factory=dict[str, Json])
    files: Mapping[str, FileRef] = field(default_factory=dict[str, FileRef])
    needs: tuple[str | int, ...] = ()
    """Names in the same batch, or ids of any tasks; they must succeed first."""
    queue: str = "default"
    task_class: TaskClass = TaskClass.BATCH
    priority: Priority = Priority.NORMAL
    gpus: int = 1
    memory: Bytes | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    not_before: datetime | None = None
    retry_of: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Tasks that are accepted together or not at all."""

    owner: str
    tasks: tuple[TaskSpec, ...]
    batch: str | None = None
    """The batch's name; None submits tasks that belong to no batch."""
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What a submission became."""

    batch: int | None
    tasks: tuple[int, ...]
    """In the order of the submission."""
    replayed: bool = False
    """True when this idempotency key had been accepted before; nothing new was made."""
    task: Task | None = None
    """The new task of a submission without a batch, as it was stored; it need not be read to be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file in the artifact store."""

    name: str
    sha256: Sha256
    size: Bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as the queue knows it."""

    id: int
    batch: int | None
    name: str
    owner: str
    queue: str
    engine: str
    model: str | None
    task_class: TaskClass
    priority: Priority
    gpus: int
    memory: Bytes | None
    inputs: Mapping[str, Json]
    files: Mapping[str, Json]
    needs: tuple[int, ...]
    timeout_s: float
    retry_of: int | None
    state: TaskState
    created_at: datetime
    not_before: datetime | None
    queued_at: datetime | None
    ready_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    max_attempts: int
    losses: int
    slots: tuple[SlotId, ...]
    cancel_requested: bool
    error: Problem | None
    result: Mapping[str, Json] | None
    outputs: tuple[StoredFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch and how many of its tasks are in which state."""

    id: int
    name: str
    owner: str
    created_at: datetime
    task_count: int
    states: Mapping[TaskState, int]

    @property
    def done(self) -> bool:
        """Whether every task has ended."""
        return sum(self.states.get(state, 0) for state in TERMINAL) == self.task_count


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryEvent:
    """One line of a task's story, and of the server's change log."""

    id: int
    at: datetime
    task: int | None
    batch: int | None
    kind: str
    data: Mapping[str, Json]
