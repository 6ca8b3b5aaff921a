"""What clients may send. Unknown names are refused: a misspelt setting must not be ignored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from corral.scheduling.values import TaskClass
from corral.server.api.fields import Digest, Id, Instant, LongWord, Seconds, Size, Word
from corral.server.auth import Role
from corral.tasks.submission import MAX_TASKS
from corral.tasks.values import DEFAULT_MAX_ATTEMPTS, DEFAULT_TIMEOUT_S

MAX_NEEDS = 1000
MAX_FILES = 1000

PriorityWord = Literal["critical", "high", "normal", "low", "idle"]
Need = Annotated[Id, Field(strict=True)] | Word


class Asked(BaseModel):
    """Base of every request."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class UploadAsked(Asked):
    """An input file that was uploaded before."""

    upload: Digest = Field(description="SHA-256 that the upload's answer named")


class OutputAsked(Asked):
    """An input file that another task makes; that task becomes a need."""

    task: Need = Field(description="a name in the same batch, or the id of any task")
    output: Word = Field(description="the output's name, such as `speech.wav`")


class TaskAsked(Asked):
    """One task to do."""

    name: Word | None = Field(
        default=None, description="unique in its batch; made from the engine's name when left out"
    )
    engine: Word = Field(description="which engine does it: `llama`, `whisper`, `piper`, `comfyui`, ...")
    model: LongWord | None = Field(default=None, description="the model's name, where the engine needs one")
    inputs: dict[str, JsonValue] = Field(
        default_factory=dict, description="in the engine's words; see /corral/v1/engines"
    )
    files: dict[Word, UploadAsked | OutputAsked] = Field(default_factory=dict, max_length=MAX_FILES)
    needs: list[Need] = Field(default_factory=list, max_length=MAX_NEEDS, description="tasks that must succeed first")
    queue: Word = "default"
    task_class: TaskClass = Field(default=TaskClass.BATCH, alias="class")
    priority: PriorityWord = "normal"
    gpus: int = Field(default=1, ge=1, le=64, description="slots of one node that it takes at once")
    memory: Size | None = Field(default=None, description="memory it needs on each slot")
    timeout: Seconds = Field(default=DEFAULT_TIMEOUT_S, description="how long one attempt may run")
    max_attempts: int = Field(default=DEFAULT_MAX_ATTEMPTS, ge=1, le=100)
    not_before: Instant | None = Field(default=None, description="it waits until then")


class BatchTaskAsked(TaskAsked):
    """A task of a batch, or what all of them have in common; a task's own words go before the common ones."""

    engine: Word = Field(default="", description="as in a single task; may stand in `defaults` alone")


def _nothing() -> BatchTaskAsked:
    return BatchTaskAsked()


class BatchAsked(Asked):
    """Tasks that are accepted together or not at all."""

    name: Word
    tasks: list[BatchTaskAsked] = Field(min_length=1, max_length=MAX_TASKS)
    defaults: BatchTaskAsked = Field(
        default_factory=_nothing, description="what the tasks have in common; `inputs` and `files` are merged"
    )


class TokenAsked(Asked):
    """A token to make."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="also the owner of what it submits")
    role: Role


class CollectAsked(Asked):
    """What to do with what retention lets go."""

    dry_run: bool = Field(default=False, description="only say what would be removed")


KNOWN_NAMES = tuple(
    field.alias or name
    for model in (BatchAsked, TaskAsked, UploadAsked, OutputAsked, TokenAsked, CollectAsked)
    for name, field in model.model_fields.items()
)
"""Every name that a request may have, to find the one that was meant."""
