"""What clients can send. Unknown names are refused: a misspelt setting must not be ignored."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from corral.cluster.fields import wrong
from corral.engines.hold.inputs import DEFAULT_TTL_S, LONGEST_S
from corral.requests import (
    BatchFields,
    Fields,
    KeyFields,
    LongWord,
    Need,
    OwnerName,
    PriorityWord,
    Seconds,
    Size,
    TaskFields,
    Whole,
    Word,
)
from corral.server.api.fields import Digest
from corral.server.auth import Role
from corral.tasks.store.gallery import Decision
from corral.tasks.submission_checks import MAX_TASKS
from corral.tasks.values import FileRef, OutputRef, UploadRef
from corral.work import Json, Priority, TaskClass

MAX_NEEDS = 1000
MAX_FILES = 1000
MAX_SLOTS = 1000
MAX_PARTS = 1000


class Asked(BaseModel):
    """Base of every request."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _NamedTask(Fields):
    name: Word | None = Field(
        default=None, description="unique in its batch; made from the engine's name when left out"
    )
    engine: Word = Field(description="which engine does it: `llama`, `whisper`, `piper`, `comfyui`, ...")


class TaskAsked(TaskFields, _NamedTask):
    """One task to do."""

    files: dict[Word, FileRef] = Field(default_factory=dict[str, FileRef], max_length=MAX_FILES)
    needs: tuple[Need, ...] = Field(default=(), max_length=MAX_NEEDS, description="tasks that must succeed first")


class BatchTaskAsked(TaskAsked):
    """A task of a batch, or what all of them have in common; a task's own words go before the common ones."""

    engine: Word = Field(default="", description="as in a single task; can be in `defaults` alone")


def _nothing() -> BatchTaskAsked:
    return BatchTaskAsked()


class BatchAsked(BatchFields):
    """Tasks that are accepted together or not at all."""

    tasks: list[BatchTaskAsked] = Field(min_length=1, max_length=MAX_TASKS)
    defaults: BatchTaskAsked = Field(
        default_factory=_nothing, description="what the tasks have in common; `inputs` and `files` are merged"
    )


class UploadedBatchAsked(BatchFields):
    """A batch whose tasks are in uploads."""

    tasks_in: list[Digest] = Field(
        min_length=1, max_length=MAX_PARTS, description="SHA-256 of uploads, in order; each has a task on each line"
    )
    defaults: BatchTaskAsked = Field(
        default_factory=_nothing, description="what the tasks have in common; `inputs` and `files` are merged"
    )


class BatchFileAsked(Asked):
    """A batch file, as JSON."""

    file: dict[str, Json] = Field(
        description="the whole file, `apiVersion` to `tasks`; files that it names are contents or uploads, no paths"
    )


class HoldAsked(Fields):
    """GPUs for a program that the caller runs itself."""

    gpus: Whole = Field(default=1, ge=1, le=64, description="How many GPUs of this machine it takes at once.")
    memory: Size | None = Field(
        default=None, description="Memory that it needs on each, such as `8Gi`; all of it when left out."
    )
    node: Word | None = Field(default=None, description="The node where the program runs: that of this server.")
    queue: Word = Field(default="default", description="The queue in which it waits.")
    task_class: TaskClass = Field(
        default=TaskClass.BATCH, alias="class", description="`interactive` goes before `batch`."
    )
    priority: PriorityWord = Field(
        default=Priority.NORMAL, description="The order inside a class.", json_schema_extra={"default": "normal"}
    )
    for_s: Seconds | None = Field(
        default=None,
        validation_alias="for",
        le=LONGEST_S,
        description="Take it back after this time in any case, such as `2h`.",
    )
    ttl_s: Seconds = Field(
        default=DEFAULT_TTL_S,
        validation_alias="ttl",
        ge=5,
        le=86_400,
        description="Take it back when it was not renewed for this time, while it waits too.",
    )
    program: LongWord | None = Field(default=None, description="The program, as people know it.")
    machine: Word | None = Field(
        default=None,
        description="The machine where the program runs, by its kernel's `boot_id`; one elsewhere is refused.",
    )
    cpu: bool = Field(default=False, strict=True, description="Take the processor of a machine without a GPU.")


class SlotsAsked(Asked):
    """Slots and devices; a device means all its slots."""

    slots: list[Word] = Field(
        min_length=1, max_length=MAX_SLOTS, description="`node/gpu0` for every slot of the device, `node/gpu0/llama`"
    )


class HandOverAsked(Asked):
    """GPUs that are given to programs outside of Corral."""

    devices: list[Word] = Field(min_length=1, max_length=MAX_SLOTS, description="`node/gpu0`")
    for_s: Seconds | None = Field(default=None, description="for how long; until they are taken back when left out")
    now: bool = Field(default=False, description="interrupt tasks at once; they are tried again later")


class TakeBackAsked(Asked):
    """GPUs that take tasks again."""

    devices: list[Word] = Field(min_length=1, max_length=MAX_SLOTS, description="`node/gpu0`")


class CheckAsked(Asked):
    """A task that instances are compared with."""

    inputs: dict[str, Json] = Field(description="the task's inputs, in the engine's words")


class ConvertAsked(Asked):
    """A workflow to convert."""

    workflow: dict[str, Json] = Field(description="the workflow as the engine's editor saves it")
    instance: Word | None = Field(default=None, description="the instance to ask; the first that can when left out")


class TokenAsked(KeyFields):
    """A token to make."""

    name: OwnerName = Field(description="also the owner of what it submits, where `owner` is left out")
    role: Role


class InvitationAsked(TokenAsked):
    """A token that a person gets by opening a link, once."""

    lasts_s: Seconds = Field(
        default=7 * 86_400, validation_alias="lasts", ge=60, le=90 * 86_400, description="how long the link is good"
    )


class LogInAsked(Asked):
    """A token to keep in a cookie, or the code of a link to exchange for one."""

    token: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")
    code: str | None = Field(default=None, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")

    @model_validator(mode="after")
    def _require_one(self) -> LogInAsked:
        if (self.token is None) == (self.code is None):
            raise wrong("either a token or a code is needed", "send `token` or `code`")
        return self


class SaidAsked(Asked):
    """The answer of one model in a turn."""

    model: LongWord
    text: str = Field(max_length=1_000_000)
    place: Word | None = Field(default=None, description="the slot that wrote it, or the provider elsewhere")
    tokens: int | None = Field(default=None, ge=0, le=2**31 - 1, description="of the answer, as its server counted")
    seconds: float | None = Field(default=None, ge=0, le=1e6, description="from the first piece to the last")
    problem: str | None = Field(default=None, max_length=2000, description="why it is missing, or ends early")


_ImageUrl = Annotated[
    str, StringConstraints(max_length=6_000_000, pattern=r"^data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+=*$")
]


class TurnAsked(Asked):
    """A turn to add to a conversation."""

    asked: str = Field(max_length=1_000_000, description="the question")
    images: list[_ImageUrl] = Field(default_factory=list[str], max_length=8, description="pictures of the question")
    answers: list[SaidAsked] = Field(min_length=1, max_length=8, description="of each model that was asked")


class ConversationAsked(Asked):
    """A conversation to begin."""

    title: Word
    system: str = Field(default="", max_length=100_000, description="the system prompt")
    models: list[LongWord] = Field(min_length=1, max_length=8)


PlaceText = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,17}/[^\x00]{1,500}$")]
"""A task and the name of its output: `12/dot.png`."""
MOST_PICTURES = 500
"""That one request names."""


class DecisionAsked(Asked):
    """A decision about pictures."""

    of: list[PlaceText] = Field(min_length=1, max_length=MOST_PICTURES, description="tasks and names: `12/dot.png`")
    decision: Decision | None = Field(description="null takes the decision back")
    note: str | None = Field(default=None, max_length=2000, description="leave out to keep the note that is there")


class PriorityAsked(Asked):
    """The priority that a task is given."""

    priority: PriorityWord


class CollectAsked(Asked):
    """What to do with what retention lets go."""

    dry_run: bool = Field(default=False, description="only report what would be removed")


KNOWN_NAMES = (
    *(
        str(field.validation_alias or field.alias or name)
        for model in (
            BatchAsked,
            UploadedBatchAsked,
            BatchFileAsked,
            TaskAsked,
            HoldAsked,
            TokenAsked,
            InvitationAsked,
            CollectAsked,
            CheckAsked,
            ConvertAsked,
            ConversationAsked,
            TurnAsked,
            SaidAsked,
        )
        for name, field in model.model_fields.items()
    ),
    *(field.name for ref in (UploadRef, OutputRef) for field in fields(ref)),
)
"""Every name that a request can have, to find the one that was meant."""
