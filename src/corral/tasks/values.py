"""Submissions to the queue, and what the queue knows of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, ClassVar, NamedTuple, NewType

from pydantic import ConfigDict, Field, StringConstraints

from corral.cluster.destinations import Destination
from corral.errors import Problem
from corral.requests import BatchFields, Need, TaskFields, Word
from corral.tasks.lifecycle import TERMINAL, TaskState
from corral.units import Bytes
from corral.work import Json, SlotId

Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits; names content."""


class TakenLane(NamedTuple):
    """A lane of a slot that no other task can have meanwhile."""

    slot: SlotId
    """The name of the slot, or of its place."""
    lane: int = 0


@dataclass(frozen=True, slots=True)
class UploadRef:
    """An input file that was uploaded before."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    upload: Annotated[
        Sha256,
        StringConstraints(pattern=r"^[0-9a-f]{64}$"),
        Field(description="SHA-256 that the upload's answer named"),
    ]


@dataclass(frozen=True, slots=True)
class OutputRef:
    """An input file that another task makes; that task becomes a need."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    task: Annotated[Need, Field(description="a name in the same batch, or the id of any task")]
    output: Annotated[Word, Field(description="the output's name, such as `speech.wav`")]


FileRef = UploadRef | OutputRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The name that a client of ComfyUI gave a task, and what is kept for such clients."""

    id: str
    facts: Mapping[str, Json] = field(default_factory=dict[str, Json])


class TaskSpec(TaskFields):
    """One task as it is submitted."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    name: str
    engine: str
    files: Mapping[str, FileRef] = Field(default_factory=dict[str, FileRef])
    needs: tuple[str | int, ...] = ()
    """Names in the same batch, or ids of any tasks; they must succeed first."""
    retry_of: int | None = None
    destination: Destination | None = None
    """Where its outputs are written by themselves; None nowhere."""
    prompt: Prompt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Tasks that are accepted together or not at all."""

    owner: str
    tasks: tuple[TaskSpec, ...]
    key: str | None = None
    """The token that submits them, whose usage they count for."""
    batch: BatchFields | None = None
    """None submits tasks that belong to no batch."""
    idempotency_key: str | None = None
    digest: bytes | None = None
    """Digest of the use of the key (`submission.with_digest`); computed when it is stored if it is not known before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The outcome of a submission."""

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


class Task(TaskFields):
    """A task as the queue knows it."""

    id: int
    batch: int | None
    name: str
    owner: str
    engine: str
    files: Mapping[str, Json]
    needs: tuple[int, ...]
    retry_of: int | None
    state: TaskState
    created_at: datetime
    queued_at: datetime | None
    ready_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    losses: int
    joules: float | None
    """Of GPUs, in all its attempts; None where none was measured."""
    slots: tuple[SlotId, ...]
    cancel_requested: bool
    error: Problem | None
    result: Mapping[str, Json] | None
    outputs: tuple[StoredFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """What became of the outputs of a batch that are written to folders."""

    written: int
    """Tasks whose outputs are all there."""
    waiting: int
    """Tasks that have succeeded, and whose outputs are not all there yet."""
    roots: tuple[str, ...]
    """The allowed folders that these wait for."""
    problem: Problem | None
    """Why the first of them could not be written the last time."""


class Batch(BatchFields):
    """A batch and how many of its tasks are in which state."""

    id: int
    owner: str
    created_at: datetime
    task_count: int
    states: Mapping[TaskState, int]
    deliveries: Deliveries | None = None
    """None where its outputs go nowhere by themselves."""

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
