"""The seam between the queue and the engines: the work of an engine, and what it gives back.

`corral.tasks` and `corral.engines` are siblings and do not import each other; both use these values and protocols,
and `corral.server` connects them.

Belongs here: values and protocols that the queue and the engines share.
Does not belong here: how a task waits, how an engine works.
May import: `corral.errors`, `corral.units`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum, StrEnum, auto
from pathlib import Path
from typing import Any, ClassVar, NewType, Protocol, runtime_checkable
from uuid import UUID

from corral.errors import CorralError, Kind
from corral.units import Bytes

SlotId = NewType("SlotId", str)
"""Names a slot or a device in one cluster: `<node>/gpu0/llama`, `<node>/gpu0/comfyui/left`; `<node>/gpu0`."""

_DEVICE = re.compile(r"[^/]+/(gpu|cpu)\d+(?=/|$)", re.ASCII)


def device_of(slot: SlotId) -> SlotId:
    """Return the name of a slot's device; a device's own name is returned as it is.

    The device of an instance without a known GPU has the instance's name: that of `far/ollama` is `far`.
    """
    match = _DEVICE.match(slot)
    return SlotId(match[0] if match else slot.partition("/")[0])


Json = Any  # a JSON value: it comes from the user and is checked by the engine that knows its shape


class TaskClass(StrEnum):
    """Whether a person waits for the result, or a night."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class Priority(IntEnum):
    """Higher goes first inside a class."""

    CRITICAL = 4
    HIGH = 3
    NORMAL = 2
    LOW = 1
    IDLE = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One attempt at a task, as an engine sees it."""

    attempt: UUID
    """Random, lower-case in text; an engine that names jobs elsewhere (ComfyUI's prompt_id) uses this one."""
    earlier: tuple[UUID, ...] = ()
    """Attempts at the same task that were lost (not failed), oldest first; their jobs can still run elsewhere."""
    task: int
    engine: str
    model: str | None = None
    inputs: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """The request of the user, in the words of the engine (checked by `corral.engines.inputs.check_inputs`)."""
    files: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Input files by name: uploads, and outputs of the tasks that this one `needs`; read only."""
    scratch: Path
    """An empty folder of this attempt alone, where the engine writes; removed after the outcome is recorded."""
    timeout_s: float
    slots: tuple[SlotId, ...] = ()
    """The slots of its engine that this attempt holds; several only for a task that asked for several GPUs."""
    memory: Bytes | None = None
    """The memory that it was given on each of them; None where it asked for none in particular."""
    devices: tuple[str, ...] = ()
    """The GPUs of those slots, in the same order: UUIDs of NVIDIA's, PCI addresses of others; empty on processors."""


LINE_CHECK = "application/vnd.corral.line-check+json"
"""The media type of what an engine shows before each line of speech that it has checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file that an engine made, still in the attempt's scratch folder."""

    name: str
    """Unique in its task; a plain file name, never a path: `speech.wav`."""
    path: Path
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """The result of a successful attempt."""

    files: tuple[OutputFile, ...] = ()
    values: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """Small results kept with the task itself: text, token counts, seconds of audio. At most 1 MiB as JSON."""


class Reporter(Protocol):
    """Where an engine reports how an attempt goes; calls never block and never fail."""

    def progress(self, fraction: float | None, note: str = "") -> None:
        """Report how far the attempt is, 0 to 1, or None where the engine cannot know; `note` is a few words."""

    def preview(self, media_type: str, data: bytes) -> None:
        """Show an intermediate result: an image while it is sampled, a piece of text or of speech (a whole WAV)."""

    def relay(self, event: str, data: Mapping[str, Json]) -> None:
        """Pass on what the engine's program says of this attempt, in its own words, to clients that speak them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A model that an engine holds in a slot's memory now."""

    model: str
    memory: Bytes | None = None
    """Bytes of the slot's memory that it takes; None where the engine does not report it."""
    computes_on: str | None = None
    """The devices that the engine's library put it on, in the library's own words: `CUDA0 (NVIDIA GeForce RTX 4090), 31
    of 31 layers`; None where the engine does not report it."""
    caution: str | None = None
    """Why that is not what the slot is for, and what to do; None where all is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in the memory of a server elsewhere."""

    size: Bytes | None = None
    """All of it."""
    on_gpu: Bytes | None = None
    """The part of it in the GPU's memory; the rest computes slowly."""
    context: int | None = None
    """Tokens of prompt and answer together."""
    until: datetime | None = None
    """When it is unloaded if nothing asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedModel:
    """A model that a server elsewhere has."""

    name: str
    """As tasks name it, completed: `llama3.2:latest`."""
    size: Bytes | None = None
    digest: str | None = None
    """Two names with one digest are one model."""
    modified_at: datetime | None = None
    parameters: str | None = None
    """In the server's words: `3.2B`."""
    quantization: str | None = None
    """In the server's words: `Q4_K_M`."""
    family: str | None = None
    """Its architecture: `llama`."""
    context: int | None = None
    """Tokens of prompt and answer together that a request can have here."""
    capabilities: tuple[str, ...] | None = None
    """In Ollama's words: `completion`, `tools`, `vision`, `thinking`, `embedding`; None where they are unknown."""
    loaded: LoadedModel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PullStep:
    """One step of a pull."""

    words: str
    """In the server's words: `pulling dde5aa3fc5ff`."""
    done: Bytes | None = None
    """Of the present file; None where there is none."""
    total: Bytes | None = None


@runtime_checkable
class ListsModels(Protocol):
    """An engine whose models are kept by a server elsewhere: it has these models and no others."""

    async def list_models(self) -> tuple[HostedModel, ...]:
        """List the models of the server. Raises: EngineError."""
        ...


@runtime_checkable
class ModelHost(ListsModels, Protocol):
    """An engine whose server also lets others manage its models."""

    async def pull_model(self, model: str, report: Callable[[PullStep], None]) -> None:
        """Let the server fetch a model; cancelling stops it, the next one goes on. Raises: EngineError."""

    async def delete_model(self, model: str) -> None:
        """Delete a model from the server. Raises: EngineError."""

    async def load_model(self, model: str, keep: float | str | None) -> None:
        """Load a model; `keep` is how long it stays in seconds or as `30m`, negative for ever. Raises: EngineError."""

    async def unload_model(self, model: str) -> None:
        """Unload a model, once the server has done what it does with it. Raises: EngineError."""


class FailureScope(StrEnum):
    """The meaning of a failed attempt for where to try next."""

    TASK = "task"
    """The task itself is wrong: no other attempt can succeed, so none is made."""
    ATTEMPT = "attempt"
    """This try went wrong: try again, on any slot."""
    SLOT = "slot"
    """The engine on this slot is not able to work now: try again elsewhere, and check the slot."""
    WAIT = "wait"
    """Nothing went wrong: the engine has no room for the task now, or lacks its model. It goes back as it was."""
    HERE = "here"
    """This slot lacks what the task needs and another can have it: try each other slot once; the slot is sound."""


class EngineError(CorralError):
    """An attempt failed in its engine; `scope` says what that means for the next one."""

    code: ClassVar[str] = "engine.failed"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE
    scope: ClassVar[FailureScope] = FailureScope.ATTEMPT

    def __init__(
        self, what: str, *, where: str | None = None, hint: str | None = None, files: tuple[OutputFile, ...] = ()
    ) -> None:
        """`files` are in the attempt's scratch folder, like outputs: a log that shows why it failed."""
        super().__init__(what, where=where, hint=hint)
        self.files = files


class TaskInvalidError(EngineError):
    """The engine cannot do what the task asks, now or later; there is no further attempt."""

    code = "engine.task_invalid"
    kind = Kind.INVALID
    scope = FailureScope.TASK


class EngineUnavailableError(EngineError):
    """The engine is not installed, does not answer, or died; the hint is the command that fixes it."""

    code = "engine.unavailable"
    kind = Kind.UNAVAILABLE
    scope = FailureScope.SLOT


class NotRunningError(EngineUnavailableError):
    """The engine's server does not run now, because nothing needs it; a task starts it."""

    code = "engine.not_running"


class SlotLacksError(EngineError):
    """The engine on this slot lacks what the task needs: a model, a kind of node, room for a file."""

    code = "engine.lacking"
    kind = Kind.MISSING
    scope = FailureScope.HERE


class Engine(Protocol):
    """One engine on one slot; runs at most as many attempts at a time as its slot has lanes.

    An adapter keeps what it needs warm between attempts and gives it up in `release` or `close`.
    """

    @property
    def name(self) -> str:
        """The engine's word in tasks and in the cluster file: `llama`, `comfyui`."""
        ...

    async def run(self, work: Work, report: Reporter) -> Produced:
        """Do the work and return what it made.

        Cancelling the call stops the work: on return nothing of it runs any longer, as far as the engine knows.
        Raises: EngineError (or a subclass that knows where to try next).
        """
        ...

    async def resident(self) -> tuple[Resident, ...]:
        """Return which models are in the slot's memory now; empty when none or when the engine is not running."""
        ...

    async def check(self) -> None:
        """Return when the engine could run a task now (without loading a model). Raises: EngineUnavailableError."""

    async def release(self) -> None:
        """Give up the memory that resident models take, as far as the engine can; the next run loads again."""

    async def kill(self) -> None:
        """End the engine at once, whatever it does; the next run starts it anew. For an engine that hangs."""

    async def close(self) -> None:
        """Stop for good and leave nothing running."""


@runtime_checkable
class CanUnload(Protocol):
    """An adapter of servers of which some cannot give their memory back while they go on."""

    async def can_unload(self) -> bool:
        """Whether `release` gives the memory back; False also where that is unknown. Raises: EngineError."""
        ...


@runtime_checkable
class HasLanes(Protocol):
    """An engine of servers of which some say how many requests they do at once."""

    async def count_lanes(self) -> int | None:
        """Return how many; None where the server does not say, or does not run now. Raises: EngineError."""
        ...


@runtime_checkable
class MeasuresOverlap(Protocol):
    """An engine whose servers do not say how many requests they do at once, and show it."""

    async def overlaps(self) -> bool | None:
        """Whether the server answers two requests at once, by two requests; None where that cannot be seen now.

        Nothing is loaded for it. Raises: EngineError.
        """
        ...

    def explain_lanes(self, lanes: int) -> str:
        """Return what makes its server do so many requests at once, as one imperative."""
        ...


@runtime_checkable
class StartsServer(Protocol):
    """An engine whose server is started by the work that needs it."""

    @property
    def start_s(self) -> float | None:
        """Seconds that a start takes, as measured; 0 while it runs, None before the first."""
        ...

    def forgive(self) -> None:
        """Forget that starts failed: the next work starts it at once."""

    def take_waited(self, attempt: UUID) -> float:
        """Return the seconds that an attempt waited for a start, and forget them; 0 where the server ran."""
        ...


PASSED_ON = "Corral-Passed-On"
"""The header of every request of a Corral to a server: another Corral then passes it on to no third."""
PASSED_ON_MARK = "corral_passed_on"
"""The entry of a stored prompt's `extra_data` that stands for that header."""


class Dialect(Enum):
    """A protocol that a server speaks, and programs of users too."""

    OPENAI = auto()
    """`/v1/...`."""
    OLLAMA = auto()
    """`/api/...`."""
    COMFYUI = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechRequest:
    """A request to speak, as a server takes it."""

    path: str
    body: Mapping[str, Json]
    format: str
    """The format of the sound, by OpenAI's name for it: `wav`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server that runs, and how it is asked."""

    url: str
    """Without a path of any dialect and without a `/` at its end: `http://127.0.0.1:11434`."""
    dialects: frozenset[Dialect]
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """To be sent with every request; they can hold a key."""
    model: str | None = None
    """The server's own word for the model; None where it takes any."""
    is_corral: bool = False
    """Whether it is another Corral, which is not asked for what came from a Corral already (`PASSED_ON`)."""
    translate_speech: Callable[[Mapping[str, Json]], SpeechRequest] | None = field(
        default=None, repr=False, compare=False
    )
    """Takes a request to speak in OpenAI's form and returns it as the server takes it; None where that is the same.
    Raises: TaskInvalidError."""
    choose_context: Callable[[int | None], int | None] = field(default=lambda asked: asked, repr=False, compare=False)
    """Takes the context that a request asks for, in tokens, None for none, and returns the one that it is sent with, so
    that the server does not load the model anew for it where that can be avoided. Raises: TaskInvalidError."""


class Use(StrEnum):
    """The use of a model by those that are lent its server."""

    WRITING = "writing"
    EMBEDDING = "embedding"
    """Turning texts into vectors."""


@runtime_checkable
class HasEndpoint(Protocol):
    """An engine whose server can be asked by others, in its own protocol, while they hold its slot."""

    def reach(
        self, model: str | None, note: Callable[[str], None], devices: tuple[str, ...] = (), use: Use = Use.WRITING
    ) -> AbstractAsyncContextManager[Endpoint]:
        """Lend the server, started where Corral starts it, and with the model where the engine itself loads it.

        `note` is called with what is waited for, in a few words; `devices` are the GPUs of the slot, as in `Work`. A
        server that does one `use` of a model at a time is started for this one. Raises: EngineError.
        """
        ...


@runtime_checkable
class KeepsJobs(Protocol):
    """An engine whose jobs outlive the server that sent them, because they run on another one."""

    def abandon(self, attempt: UUID, task: int) -> None:
        """End the job of a lost attempt as soon as its server answers: nothing waits for it any more."""


class HoldEnd(StrEnum):
    """Why a hold has ended."""

    RELEASED = "released"
    """Its holder, or an administrator, gave it back."""
    EXPIRED = "expired"
    """Its holder did not renew it in time."""
    OVER = "over"
    """The time was over for which it was asked."""
    CLOSED = "closed"
    """The hours of its devices or its queue are over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldTerms:
    """How long a hold counts."""

    ttl_s: float
    """Seconds after which it is taken back unless it is renewed."""
    for_s: float | None = None
    """Seconds after which it is taken back in any case; None for no end."""


class HoldBook(Protocol):
    """Where the queue keeps which devices were lent to programs that Corral does not run."""

    async def hand_over(self, work: Work, terms: HoldTerms, report: Reporter) -> None:
        """Wait until the devices of the attempt are free, and note that they are the holder's.

        Nothing is waited for where they were handed over before: the holder uses them. Raises: EngineError.
        """

    async def wait_for_end(self, task: int) -> HoldEnd:
        """Return once the hold has ended."""
        ...

    def is_lent(self, task: int) -> bool:
        """Whether the devices of a task were handed over and not given back."""
        ...

    def ask_back(self, task: int, because: HoldEnd) -> None:
        """Ask the holder to stop: the hold ends a little later."""


@runtime_checkable
class LendsDevices(Protocol):
    """An engine whose tasks are done by programs that Corral does not run: they go on while the server is away."""

    @property
    def book(self) -> HoldBook:
        """Where their holds are kept."""
        ...
