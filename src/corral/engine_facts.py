"""The kinds of facts that are known of an engine: its program, its files, its libraries, how it speaks.

Belongs here: the shapes of these facts.
Does not belong here: the facts of an engine (`corral.engine_kinds`).
May import: nothing of Corral.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Medium(StrEnum):
    """The medium of an engine's models."""

    TEXT = "text"
    """Language models that llama.cpp runs."""
    IMAGES = "images"
    SPEECH = "speech"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProgram:
    """The program that serves an engine as a service of its own, as its container must know it."""

    image: str | None = None
    """Its image where the cluster file names none; pinned, so that two nodes run the same."""
    port: int | None = None
    """The port on which it listens by default, according to its own documentation."""
    usual_ports: tuple[int, ...] = ()
    """The ports of several programs that serve it, each by its own documentation."""
    health_path: str | None = None
    """The path that answers 200 once it can serve; None where only its port is checked."""
    identity: tuple[str, str] | None = None
    """A path whose JSON answer has this key: a server that answers so on the port is of this engine."""
    data_path: str = "/data"
    """Where it keeps what must last."""
    other_user: int | None = None
    """Another user than root that its image has, and that it can run as."""
    other_data_path: str | None = None
    """Where it keeps what must last as that user, below that user's own folder."""
    keeps_state: bool = False
    """Whether it must be one process for each volume, with an address of its own."""
    own_folders: tuple[str, ...] = ()
    """The last part of the paths at which each instance keeps files of its own: two that share one lose files."""
    caches_models: bool = False
    """Whether it fetches its models by name into caches below the home directory, unless configured otherwise."""
    uses_hugging_face: bool = False
    """Whether those models can be fetched beforehand as repositories of Hugging Face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRule:
    """The files that a task can hand to an engine."""

    minimum: int = 0
    maximum: int | None = 0
    """None means any number."""
    summary: str = "no files"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRule:
    """A file that an engine makes."""

    name: str
    """A plain file name, or words in angle brackets where the task decides: `<declared name>`."""
    media_type: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRule:
    """A small result that an engine keeps with the task."""

    name: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """The NVIDIA GPUs that a library's compiled code runs on, by their compute capability."""

    library: str
    oldest: tuple[int, int]
    newest: tuple[int, int]
    """The newest that code is compiled for."""
    has_intermediate: bool
    """Whether the driver of a newer GPU can compile the rest (PTX)."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEnvironment:
    """Packages that an engine can have in a Python environment of its own (`corral.engines.environments`)."""

    variant: str
    """`cpu`, `cuda`."""
    lock: str
    """The locked file in `corral.engines.environments.locks`."""
    kernels: Kernels | None = None
    """None where nothing in it computes on a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechRule:
    """How an engine that speaks `text` is asked for what other protocols call a voice and a speed."""

    voice: str
    """The input that chooses a voice."""
    voices: str
    """`module:function` that takes a model's path, and returns its voices: their names, each with the input's value."""
    speed: str | None
    """The input for the speed; None where it has one speed."""
    speed_is_slowness: bool = False
    """Whether 2 takes twice as long, instead of half."""
    voice_files: tuple[str, ...] = ()
    """Endings of files that can be a task's one file, to speak with that voice."""
    clones: bool = False
    """Whether these files are recordings of a person."""
    check_voice: str | None = None
    """`module:function` that takes such a file's path and its name, and raises a `corral.work.TaskInvalidError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HelperProgram:
    """A program that an engine's process runs, and that no package of Python brings."""

    name: str
    """As it is on PATH."""
    install: str
    """What to do where it is not there; begins with a verb."""
