"""Prompts, files and instances, as the door needs them; `corral.server` fulfils it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from corral.gateway.doors import Visitor
from corral.work import Json


class Stage(StrEnum):
    """Where a prompt is, in the words of ComfyUI's jobs."""

    PENDING = "pending"
    RUNNING = "in_progress"
    SUCCEEDED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({Stage.SUCCEEDED, Stage.FAILED, Stage.CANCELLED})


@dataclass(frozen=True, slots=True)
class FileName:
    """An input of a node whose value can be the name of a file."""

    node: str
    input: str
    folder: str
    """`input`, `temp` or `output`."""
    name: str
    """With its subfolder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPrompt:
    """A prompt as a client submits it, checked against what is known of the instances."""

    id: str
    client: str | None
    """The client that its events go to."""
    workflow: Mapping[str, Json]
    """As it was sent."""
    parts: Mapping[str, Json]
    """The nodes of it that run: those of `outputs`, and what they need."""
    outputs: tuple[str, ...]
    """The nodes with outputs that run."""
    extra_data: Mapping[str, Json] = field(default_factory=dict[str, Json])
    names: Sequence[FileName] = ()
    """Where it can name files that its owner uploaded, or that other prompts made."""
    number: float | None = None
    """Its place in the queue, as its client names it; None for the end of it."""
    precedence: int = 0
    """Among its owner's prompts: higher goes first."""
    is_first: bool = False
    """Whether it goes before all of its owner's that wait, whatever their precedence."""
    facts: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """What else is kept with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEnd:
    """How a prompt ended."""

    nodes: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """The outputs of each node, as its instance reported them; a file that is kept has its name at Corral, `output`."""
    messages: Sequence[Json] = ()
    """Pairs of event and data, as its instance kept them."""
    problem: str | None = None
    """Why it failed."""
    node: str | None = None
    """Where it failed; None where that is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrompt:
    """A prompt as the queue knows it; instants are milliseconds since 1970."""

    id: str
    task: int
    owner: str
    client: str | None
    number: float
    workflow: Mapping[str, Json]
    outputs: tuple[str, ...]
    extra_data: Mapping[str, Json]
    facts: Mapping[str, Json]
    stage: Stage
    created_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None
    is_cancelling: bool = False
    """Whether it was cancelled and still runs."""
    end: PromptEnd | None = None
    files: Mapping[str, OutputFile] = field(default_factory=dict[str, "OutputFile"])
    """Its outputs, by their name at Corral."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPrompt:
    """A prompt in a list, without what is large; instants are milliseconds since 1970."""

    id: str
    task: int
    stage: Stage
    workflow_id: str | None = None
    """Of the drawn workflow that it was made from; None where its client sent none along."""
    created_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A stored file."""

    path: Path
    media_type: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A prompt that is in the queue now."""

    task: int
    number: float
    is_replay: bool = False
    """Whether the same was submitted under the same id before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How far a running prompt is."""

    fraction: float | None
    note: str
    events: Mapping[str, Mapping[str, Json]] = field(default_factory=dict[str, Mapping[str, Json]])
    """The newest data of each event of its instance, by event."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Something in an owner's queue has changed: a prompt was submitted, or ended (`stage` says how)."""

    owner: str
    task: int
    stage: Stage


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a running prompt, in the words of its instance; its ids of prompts are not the client's."""

    task: int
    name: str
    data: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Picture:
    """A preview of a running prompt."""

    task: int
    media_type: str
    data: bytes


News = Moved | Event | Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceAnswer:
    """The answer of one instance; `value` is None where it gave none."""

    name: str
    value: Json
    problem: str | None = None


class Workshop(Protocol):
    """Prompts, files and instances."""

    async def submit(self, visitor: Visitor, prompt: NewPrompt) -> Accepted:
        """Put a prompt into the queue; the same prompt under the same id is not queued again. Raises: CorralError."""
        ...

    async def list_open(self, owner: str) -> Sequence[ListedPrompt]:
        """Return all of an owner's prompts that have not ended, in the order in which they go."""
        ...

    async def count_open(self, owner: str) -> int:
        """Count an owner's prompts that have not ended."""
        ...

    async def list_ended(self, owner: str, limit: int) -> Sequence[ListedPrompt]:
        """Return an owner's newest prompts in its history, newest first."""
        ...

    async def list_page(
        self, owner: str, *, stages: Collection[Stage], metadata: Mapping[str, str], before: int, limit: int
    ) -> Sequence[StoredPrompt]:
        """Return an owner's newest prompts of tasks below `before`, in any of the stages and with all of the metadata.

        Newest first; those that were taken out of the history are not among them.
        """
        ...

    async def read(self, tasks: Collection[int]) -> Sequence[StoredPrompt]:
        """Return those of the tasks that are prompts, oldest first."""
        ...

    def find_course(self, task: int) -> Course | None:
        """Return how far a prompt is; None while it does not run."""
        ...

    async def find(self, owner: str, id: str) -> StoredPrompt | None:
        """Return an owner's prompt."""
        ...

    async def cancel(self, visitor: Visitor, tasks: Collection[int]) -> None:
        """Cancel prompts; one that has ended stays as it is."""
        ...

    async def hide(self, owner: str, ids: Collection[str] | None) -> None:
        """Take ended prompts out of an owner's history; all where `ids` is None."""
        ...

    def follow(self) -> AbstractAsyncContextManager[AsyncIterator[News]]:
        """Open what happens to all prompts from now on; it ends when the server stops."""
        ...

    async def keep(self, visitor: Visitor, name: str, content: AsyncIterator[bytes]) -> OutputFile:
        """Keep an uploaded file, within its owner's quota. Raises: CorralError."""
        ...

    async def name_input(self, owner: str, folder: str, name: str, file: OutputFile, *, overwrite: bool) -> str:
        """Give a kept file its name, and return the one that it got: another where other content has the name."""
        ...

    async def find_input(self, owner: str, folder: str, name: str) -> OutputFile | None:
        """Return a file that an owner uploaded; `name` has its subfolder."""
        ...

    async def list_inputs(self, owner: str) -> Sequence[str]:
        """Return the names of an owner's files in the folder `input`."""
        ...

    async def describe_nodes(self, *, fresh: bool = False) -> Sequence[InstanceAnswer]:
        """Return what each instance last answered to `/object_info`: by class, its description as JSON.

        With `fresh` it is at most two seconds old, where the instance answers.
        """
        ...

    async def ask(self, path: str) -> Sequence[InstanceAnswer]:
        """Ask each instance that answers now; what was asked just before is not asked again."""
        ...

    def list_addresses(self) -> Mapping[str, tuple[str, Mapping[str, str]]]:
        """Return URL and headers of each instance that runs now, by name."""
        ...

    def find_address(self, task: int) -> tuple[str, Mapping[str, str]] | None:
        """Return URL and headers of the instance on which a prompt runs now."""
        ...
