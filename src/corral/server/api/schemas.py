"""The answers of the API, as OpenAPI describes them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from corral.errors import Kind
from corral.requests import BatchFields, KeyFields, PriorityWord, TaskFields
from corral.scheduling.deadlines import Verdict
from corral.scheduling.values import Gate
from corral.server.auth import Role
from corral.tasks.lifecycle import TaskState
from corral.work import TaskClass


class Answer(BaseModel):
    """Base of every answer; names are part of the contract."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, json_schema_serialization_defaults_required=True)


class ProblemOut(Answer):
    """One thing that is wrong."""

    code: str
    what: str
    where: str | None
    hint: str | None


class ErrorBody(Answer):
    """Why a request was refused; the first problem is in front, `problems` has all."""

    code: str = Field(description="stable, dotted")
    kind: Kind = Field(description="what the caller can do")
    what: str
    where: str | None
    hint: str | None
    request_id: str
    problems: list[ProblemOut]


class ErrorOut(Answer):
    """The one shape of every error."""

    error: ErrorBody


class OutputOut(Answer):
    """A file that a task made."""

    name: str
    sha256: str
    size: int
    media_type: str
    url: str


class ProgressOut(Answer):
    """How far a running task is."""

    fraction: float | None
    note: str
    slot: str
    at: datetime


class _NumberedTask(Answer):
    id: int
    batch: int | None
    name: str
    owner: str
    engine: str


class TaskOut(TaskFields, _NumberedTask):
    """A task as the queue knows it."""

    files: dict[str, JsonValue]
    needs: list[int]
    retry_of: int | None
    state: TaskState
    created_at: datetime
    queued_at: datetime | None
    ready_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    losses: int
    joules: float | None = Field(description="of GPUs, in all its attempts, as measured; null where none was")
    slots: list[str]
    cancel_requested: bool
    error: ProblemOut | None
    result: dict[str, JsonValue] | None
    outputs: list[OutputOut]
    progress: ProgressOut | None


class TaskPage(Answer):
    """Tasks, and where the list goes on."""

    items: list[TaskOut]
    next: str | None = Field(description="the cursor of the next page; null at the end")


class DeliveriesOut(Answer):
    """What became of the outputs of a batch that are written to folders by themselves."""

    written: int = Field(description="tasks whose outputs are all there")
    waiting: int = Field(description="tasks that have succeeded, and whose outputs are not all there yet")
    problem: ProblemOut | None = Field(description="why not, where that is known")


class DeadlineOut(Answer):
    """Whether a batch will be done by its deadline, by what was measured; loading and failures come on top."""

    verdict: Verdict
    ready_at: datetime | None = Field(description="when it is done at the earliest, if its tasks go first")
    ready_after_all: datetime | None = Field(description="when all that waits now is done; null where it is unknown")
    latest_start: datetime | None = Field(description="from then on it cannot be in time; null where that is unknown")
    done_by: int | None = Field(description="tasks of it that can have ended by then; null where that is unknown")
    time_zone: str = Field(description="the zone in which the deadline's time of the clock is meant")


class BatchOut(BatchFields, Answer):
    """A batch and how many of its tasks are in which state."""

    id: int
    owner: str
    created_at: datetime
    task_count: int
    states: dict[TaskState, int]
    done: bool
    deliveries: DeliveriesOut | None = Field(description="null where its outputs go nowhere by themselves")
    deadline: DeadlineOut | None = Field(description="null without `by`")


class BatchPage(Answer):
    """Batches, newest first, and where the list goes on."""

    items: list[BatchOut]
    next: str | None = Field(description="the cursor of the next page; null at the end")


class NamedTask(Answer):
    """A task of a batch that was accepted."""

    name: str
    id: int


class BatchAccepted(Answer):
    """A submitted batch."""

    batch: BatchOut
    tasks: list[NamedTask] = Field(description="in the order of the submission")
    replayed: bool = Field(description="true when this idempotency key had been accepted before")
    caution: ProblemOut | None = Field(description="what keeps all of it from starting; null where nothing is known to")


class DrawnTask(Answer):
    """A task that a batch file stands for."""

    name: str
    engine: str
    model: str | None
    inputs: dict[str, JsonValue] = Field(description="without those that the batch's defaults give")


class BatchFileForecast(Answer):
    """The tasks of a batch file, and when they would be done; durations are those that were measured here."""

    name: str
    task_count: int
    tasks: list[DrawnTask] = Field(description="the first of them; seeds and wildcards are drawn anew when it is sent")
    ready_at: datetime | None = Field(description="when it is done at the earliest, if its tasks go first")
    ready_after_all: datetime | None = Field(description="when all that waits now is done, too")
    unknown: str | None = Field(description="why that is not known; null where it is")
    deadline: DeadlineOut | None = Field(description="null without `by`")
    caution: ProblemOut | None = Field(description="what keeps all of it from starting; null where nothing is known to")


class UploadedBatchAccepted(Answer):
    """A submitted batch whose tasks were uploaded; `GET /tasks?batch=` lists them."""

    batch: BatchOut
    replayed: bool = Field(description="true when this idempotency key had been accepted before")


class StoryEventOut(Answer):
    """One line of the story."""

    id: int
    at: datetime
    task: int | None
    batch: int | None
    kind: str
    data: dict[str, JsonValue]


class Story(Answer):
    """What happened to a task, oldest first."""

    items: list[StoryEventOut]


class ExplanationOut(Answer):
    """Why a task is where it is."""

    task: int
    state: TaskState
    rule: str = Field(description="a stable word")
    summary: str
    slots: dict[str, str] = Field(
        description="by slot, or by device where the engine has none: why it does not take the task now"
    )
    since: datetime
    may_start_at: datetime | None
    ahead: int | None = Field(description="queued tasks that go first on its slots; null when unknown")


class WaitingTask(Answer):
    """A task that waits, and why."""

    task: TaskOut
    explanation: ExplanationOut


class WaitingList(Answer):
    """Tasks that have not started, those that are expected first in front."""

    items: list[WaitingTask]
    total: int = Field(description="of all that wait, those that are not listed included")


class UploadOut(Answer):
    """A file that was taken."""

    sha256: str
    size: int
    name: str
    media_type: str


class UploadEntry(UploadOut):
    """An upload as its owner has it."""

    created_at: datetime
    in_use: bool = Field(description="whether a task that has not ended takes it")


class Uploads(Answer):
    """Uploads of one owner."""

    owner: str
    bytes: int = Field(description="of all of them")
    quota: int = Field(description="bytes that the owner can have")
    items: list[UploadEntry]
    next: str | None = Field(description="`cursor` of the next page; null on the last")


class UploadDeleted(Answer):
    """An upload that was deleted."""

    sha256: str
    owner: str
    freed: int = Field(
        description="bytes of the disk that are free now; 0 where others name the file, or it is younger than an hour "
        "and is removed by the next collection"
    )


class HeldDevice(Answer):
    """A device that a program has."""

    device: str
    slot: str
    model: str
    memory: int | None = Field(description="bytes that it has; null when unknown")
    visible: str | None = Field(description="NVIDIA's UUID, or the PCI address of another GPU; null on a processor")


class DeviceHold(Answer):
    """Devices that a program of a user has, or waits for."""

    id: int = Field(description="its task's number")
    owner: str
    program: str
    state: Literal["waiting", "starting", "granted", "ending", "ended"] = Field(
        description="`starting` while memory becomes free; `ending` when its holder has to stop the program"
    )
    queue: str
    task_class: TaskClass = Field(alias="class")
    priority: PriorityWord
    gpus: int
    memory: int | None = Field(description="bytes of each; null for all of it")
    node: str | None
    created_at: datetime
    granted_at: datetime | None
    expires_at: datetime | None = Field(description="when it is taken back unless it is renewed")
    ends_at: datetime | None = Field(description="when it is taken back in any case; null where no end was asked for")
    ended_at: datetime | None
    because: str | None = Field(description="why it ends: `released`, `expired`, `over`, `cancelled` or `failed`")
    error: ProblemOut | None
    devices: list[HeldDevice] = Field(description="empty until it is granted")
    environment: dict[str, str] = Field(description="variables by which its program sees these devices and no others")
    waits: ExplanationOut | None = Field(description="why it waits; null once it does not")
    note: str = Field(description="what is waited for while it starts, and what was seen of the memory then")


class DeviceHolds(Answer):
    """Holds that have not ended."""

    items: list[DeviceHold]


class QueueLimits(Answer):
    """The limits of one owner in a queue; null is unlimited."""

    running_per_owner: int | None
    queued_per_owner: int | None


class QueueOut(Answer):
    """A queue, its rules and what waits in it."""

    name: str
    order: str
    pool: list[str] | None = Field(description="nodes, devices and slots; null is every slot")
    gate: Gate
    limits: QueueLimits
    states: dict[TaskState, int] = Field(description="tasks that have not ended")


class Queues(Answer):
    """Every queue of the cluster file."""

    items: list[QueueOut]


class TokenOut(KeyFields, Answer):
    """A token, without its secret."""

    name: str
    role: Role
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class Tokens(Answer):
    """Every token that was made."""

    items: list[TokenOut]


class TokenCreated(Answer):
    """A new token; the secret is shown this once."""

    name: str
    role: Role
    owner: str
    token: str


class SessionOut(Answer):
    """Whom a request speaks for; everything is null without a usable token."""

    owner: str | None
    role: Role | None
    cluster: str | None = Field(description="the name in the cluster file")
    has_cookie: bool = Field(description="whether the browser has a cookie of the console")
    keeps_conversations: bool = Field(description="whether the chat's conversations are kept (`console.conversations`)")


class ConsoleLink(Answer):
    """A link to the console."""

    link: str = Field(description="with a code for one log-in, where a token is needed")
    ends_at: datetime | None = Field(description="when the code ends; null where none is needed")


class AuditEntryOut(Answer):
    """One thing that a caller did."""

    id: int
    at: datetime
    owner: str = Field(description="by whom: a token's name, or `local`")
    origin: str | None = Field(description="the address of the client")
    action: str = Field(description="a stable word")
    subject: str = Field(description="to what: a token, a queue, slots, a task, a batch")
    details: dict[str, JsonValue]


class AuditPage(Answer):
    """Entries of the audit log, newest first, and where the list goes on."""

    items: list[AuditEntryOut]
    next: str | None = Field(description="the cursor of the next page; null at the end")


class CollectedOut(Answer):
    """The things that were removed, or would be."""

    dry_run: bool
    tasks: int
    batches: int
    outputs: int
    uploads: int
    files: int
    bytes: int


class Live(Answer):
    """The process answers."""

    status: Literal["live"] = "live"


class AlarmOut(Answer):
    """Something on the server does not work now."""

    name: str
    since: datetime
    what: str | None = None
    """Null, as is `hint`, in an answer to a request without a token."""
    hint: str | None = None


class DoorsReady(Answer):
    """The server serves requests through its doors."""

    status: Literal["ready"] = "ready"


class Ready(Answer):
    """The server can take work."""

    status: Literal["ready"] = "ready"
    database: Literal["ok"] = "ok"
    dispatcher: Literal["leading", "standby"]
    alarms: list[AlarmOut]
    """What does not work now, the oldest first."""
