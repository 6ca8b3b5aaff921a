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


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEngine:
    """An engine that a deployed service can run; those of the queue have more facts (`EngineKind`)."""

    name: str
    """Its word in the cluster file and in tasks."""
    medium: Medium | None = None
    """None where its models are of no medium of their own: it runs anything, or has none."""
    exclusive: bool = False
    """Whether it computes alone on its device unless the cluster file says otherwise: it takes what memory is left."""
    swaps_models: bool = False
    """Whether it gives one model up for another; the others hold all of theirs at once."""
    program: EngineProgram | None = None
    """None where nothing is known of its container."""


NO_FILES = FileRule()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind(ServiceEngine):
    """An engine of the queue.

    One of `worker`, `served`, `in_process`, `held` and `adapter` names the code of its tasks.
    """

    summary: str
    """One sentence for people."""
    inputs: str
    """`module:Class` of the `EngineInputs`."""
    options: str = "corral.engines.schema:NoOptions"
    """`module:Class` of the `EngineOptions`."""
    needs_model: bool = False
    registers: str | None = None
    """The input that names the model which its result becomes; None of an engine that makes none."""
    has_lanes: bool = False
    """Whether it can do several tasks of one model at a time (`lanes` in the cluster file)."""
    model_options: tuple[str, ...] = ()
    """Options that name further models of the store, which its worker gets with each task."""
    model_name: str | None = None
    """`module:function` that takes the task's model and inputs, and returns the name under which the engine itself
    knows the model; so that tasks and resident models can be compared. None leaves names as they are."""
    text_input: str | None = None
    """The input that a list of prompts fills, one for each task; None where it takes no text of one's own."""
    seed_input: str | None = None
    """The input that makes its work another each time: `seed`, or `options.seed`."""
    object_inputs: tuple[str, ...] = ()
    """Inputs that are objects of some size, and that a batch file names as JSON files."""
    needs: str | None = None
    """`module:function` that takes a task's inputs and returns the `corral.engines.surveying.Need`s of it."""
    look: str | None = None
    """`module:function` that takes an instance's URL, options and credentials, and reads what it has of these."""
    editor: str | None = None
    """`module:Class` of a `corral.engines.converting.Editor`, where people draw what its tasks run."""
    files: FileRule = NO_FILES
    outputs: tuple[OutputRule, ...] = ()
    values: tuple[ValueRule, ...] = ()
    worker: str | None = None
    """`module:Class` of a `corral.engines.worker.job.WorkerEngine`, which runs in a worker process per slot."""
    served: str | None = None
    """`module:function` that takes a `corral.engines.machine_share.MachineShare` and its options, and returns a
    `corral.work.Engine` in front of a server that Corral runs on this machine."""
    library: str | None = None
    """The Python package that its process needs; the extra of Corral with the engine's name has it, too."""
    speech: SpeechRule | None = None
    """None of an engine that does not speak."""
    helper: HelperProgram | None = None
    """The program of the machine that its process needs as well."""
    environments: tuple[EngineEnvironment, ...] = ()
    """The environments of its own that it can have, the usual one first."""
    examination: str | None = None
    """`module:function` that takes `has_gpu` and `environments`, and returns a
    `corral.engines.machine_share.Examination`. None where the engine is ready when its library is installed."""
    any_gpu: bool = False
    """Whether it computes on GPUs of AMD and Intel too; any other has its slots on NVIDIA's and on processors."""
    in_process: str | None = None
    """`module:Class` of a `corral.work.Engine` that computes nothing, and so needs no worker."""
    held: str | None = None
    """`module:Class` of a `corral.work.Engine` that takes a `corral.work.HoldBook`: its slots lend their devices to
    programs that Corral does not run, so its tasks go on while the server is away."""
    adapter: str | None = None
    """`module:function` that takes an instance's URL, options and credentials, and returns a `corral.work.Engine`."""
    scheme: str | None = None
    """The scheme of its instances' URLs; None where they are `http` or `https`."""
    lists_models: bool = False
    """Whether its adapter is a `corral.work.ListsModels`: servers elsewhere keep its models."""
    hosts_models: bool = False
    """Whether it is a `corral.work.ModelHost` too: Corral manages those models."""
    loads_from_folder: bool = False
    """Whether its instances load model files from a folder that others can write (`modelsFolder`)."""
    on_by_default: bool = True
    """Whether it can be used where the cluster file does not name it."""
    admin_only: bool = False
    """Whether only administrators can submit its tasks."""

    @property
    def remote(self) -> bool:
        """Whether it runs elsewhere: instances with a URL each, instead of processes of this machine."""
        return self.adapter is not None
