"""What each engine accepts and gives back: one registry for submission, the engines themselves and the docs.

An engine is one entry here and one pydantic model of its inputs in `<engine>_inputs.py`. The models are named, not
imported: pydantic and the models load when inputs are first checked, so that `corral --help` does not pay for them.

Belongs here: the registry, and turning pydantic's complaints into our problems.
Does not belong here: running anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from corral.errors import Problem, ProblemsError, did_you_mean
from corral.work import TaskInvalidError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from corral.engines.schema import EngineInputs, EngineOptions

ModelT = TypeVar("ModelT", bound="BaseModel")
InputsT = TypeVar("InputsT", bound="EngineInputs")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesTaken:
    """Which files a task may hand to an engine."""

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
class EngineKind:
    """One engine, as submission, configuration and the docs see it."""

    name: str
    summary: str
    """One sentence for people."""
    inputs: str
    """`module:Class` of the `EngineInputs`."""
    options: str = "corral.engines.schema:NoOptions"
    """`module:Class` of the `EngineOptions`."""
    needs_model: bool = False
    model_name: str | None = None
    """`module:function` that takes the task's model and inputs, and returns the name under which the engine itself
    knows the model; so that tasks and resident models can be compared. None leaves names as they are."""
    files: FilesTaken = FilesTaken()
    outputs: tuple[OutputRule, ...] = ()
    values: tuple[ValueRule, ...] = ()
    local: bool = False
    """Whether it runs in processes of this machine; the others are reached by URL."""
    on_by_default: bool = True
    """Whether it may be used where the cluster file does not name it."""

    def input_model(self) -> type[EngineInputs]:
        """Load the model of its inputs."""
        return cast("type[EngineInputs]", _load(self.inputs))  # the registry's own strings; a test loads them all

    def option_model(self) -> type[EngineOptions]:
        """Load the model of its options."""
        return cast("type[EngineOptions]", _load(self.options))  # as above


_TEXT = OutputRule(name="text.txt", media_type="text/plain; charset=utf-8", summary="the text alone")

_KINDS = (
    EngineKind(
        name="llama",
        summary="Writes text with a GGUF model through llama.cpp, in a process of its own.",
        inputs="corral.engines.llama.inputs:LlamaInputs",
        options="corral.engines.llama.inputs:LlamaOptions",
        needs_model=True,
        outputs=(_TEXT,),
        values=(
            ValueRule(name="text", summary="what the model wrote"),
            ValueRule(name="finish_reason", summary="`stop` when the model ended, `length` at `max_tokens`"),
            ValueRule(name="prompt_tokens", summary="tokens of the prompt, chat template included"),
            ValueRule(name="completion_tokens", summary="tokens that the model wrote"),
            ValueRule(name="tokens_per_second", summary="speed of writing, prompt apart; null when unknown"),
        ),
        local=True,
    ),
    EngineKind(
        name="whisper",
        summary="Transcribes or translates speech with faster-whisper, in a process of its own.",
        inputs="corral.engines.whisper.inputs:WhisperInputs",
        options="corral.engines.whisper.inputs:WhisperOptions",
        needs_model=True,
        files=FilesTaken(minimum=1, maximum=1, summary="exactly one audio or video file, under any name"),
        outputs=(
            _TEXT,
            OutputRule(name="segments.json", media_type="application/json", summary="segments with times in seconds"),
            OutputRule(name="subtitles.srt", media_type="application/x-subrip", summary="subtitles as SubRip"),
            OutputRule(name="subtitles.vtt", media_type="text/vtt", summary="subtitles as WebVTT"),
        ),
        values=(
            ValueRule(name="text", summary="what was said"),
            ValueRule(name="language", summary="the language spoken, given or detected"),
            ValueRule(name="duration_s", summary="length of the audio"),
        ),
        local=True,
    ),
    EngineKind(
        name="piper",
        summary="Speaks text with a Piper voice; Piper runs as a separate program.",
        inputs="corral.engines.piper.inputs:PiperInputs",
        options="corral.engines.piper.inputs:PiperOptions",
        needs_model=True,
        outputs=(OutputRule(name="speech.wav", media_type="audio/wav", summary="16-bit mono"),),
        values=(
            ValueRule(name="duration_s", summary="length of the speech"),
            ValueRule(name="sample_rate", summary="samples per second"),
        ),
        local=True,
    ),
    EngineKind(
        name="command",
        summary="Runs any program; off unless the cluster file turns it on, and only for administrators.",
        inputs="corral.engines.command.inputs:CommandInputs",
        files=FilesTaken(maximum=None, summary="any number; the program finds them in `inputs/` by name"),
        outputs=(
            OutputRule(name="log.txt", media_type="text/plain; charset=utf-8", summary="what it printed, bounded"),
            OutputRule(name="<declared name>", media_type="by its ending", summary="files that `outputs` declares"),
        ),
        values=(ValueRule(name="exit_code", summary="always 0: any other code fails the attempt"),),
        local=True,
        on_by_default=False,
    ),
    EngineKind(
        name="sleep",
        summary="Waits, for rehearsals and benchmarks; off unless the cluster file turns it on.",
        inputs="corral.engines.sleep.inputs:SleepInputs",
        values=(ValueRule(name="slept_s", summary="seconds that it waited"),),
        local=True,
        on_by_default=False,
    ),
    EngineKind(
        name="comfyui",
        summary="Runs workflows on ComfyUI instances, one slot each, reached by URL.",
        inputs="corral.engines.comfyui.inputs:ComfyUiInputs",
        options="corral.engines.comfyui.inputs:ComfyUiOptions",
        model_name="corral.engines.comfyui.workflow:model_name",
        files=FilesTaken(maximum=None, summary='any number; the workflow names them as `{"file": "<name>"}`'),
        outputs=(
            OutputRule(name="<name on the instance>", media_type="as the instance says", summary="what it saved"),
            OutputRule(
                name="text_<node>_<number>.txt",
                media_type="text/plain; charset=utf-8",
                summary="a text that a node gave out",
            ),
        ),
        values=(
            ValueRule(name="prompt_id", summary="the prompt on the instance: the id of this or an earlier attempt"),
            ValueRule(name="outputs", summary="how many files each node gave, by node id"),
            ValueRule(name="execution_s", summary="how long it ran by the instance's clock; null when unknown"),
        ),
    ),
    EngineKind(
        name="ollama",
        summary="Chats, generates and embeds on Ollama servers, one slot each, reached by URL.",
        inputs="corral.engines.ollama.inputs:OllamaInputs",
        options="corral.engines.ollama.inputs:OllamaOptions",
        model_name="corral.engines.ollama.protocol:model_name",
        needs_model=True,
        files=FilesTaken(maximum=None, summary="any number; `images` names those to look at"),
        outputs=(
            _TEXT,
            OutputRule(name="thinking.txt", media_type="text/plain; charset=utf-8", summary="its thoughts, if any"),
            OutputRule(name="embeddings.json", media_type="application/json", summary="one vector per text"),
        ),
        values=(
            ValueRule(name="text", summary="what the model wrote; null where it is too long to keep twice"),
            ValueRule(name="finish_reason", summary="`stop` when the model ended, `length` at `num_predict`"),
            ValueRule(name="prompt_tokens", summary="tokens of the prompt that were not cached"),
            ValueRule(name="completion_tokens", summary="tokens that the model wrote"),
            ValueRule(name="tokens_per_second", summary="speed of writing, prompt apart; null when unknown"),
            ValueRule(name="load_s", summary="how long the model took to load"),
            ValueRule(name="tool_calls", summary="functions that the model called, if any"),
            ValueRule(name="embeddings", summary="how many vectors"),
            ValueRule(name="dimensions", summary="the length of each"),
            ValueRule(name="spilled_bytes", summary="how much of the model lies outside the GPU's memory"),
        ),
    ),
)

ENGINES: Mapping[str, EngineKind] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""Every engine by name."""


def check_inputs(engine: str, inputs: Mapping[str, Any]) -> list[Problem]:  # Any: JSON from the user
    """Return everything that is wrong with the inputs of a task, each with its path (`inputs.max_tokens`)."""
    kind = ENGINES.get(engine)
    if kind is None:
        return [_unknown(f"no engine is called {engine!r}", engine, ENGINES, where="engine", code="input.no_engine")]
    return _input_problems(kind.input_model(), inputs)


def model_name(engine: str, model: str | None, inputs: Mapping[str, Any]) -> str | None:  # Any: JSON from the user
    """Return the name under which the engine knows the model of a task, as it will name it when it is resident."""
    kind = ENGINES.get(engine)
    if kind is None or kind.model_name is None:
        return model
    named = cast("Callable[[str | None, Mapping[str, Any]], str | None]", _load(kind.model_name))  # as in EngineKind
    return named(model, inputs)


def check_options(engine: str, options: Mapping[str, Any]) -> list[Problem]:  # Any: JSON from the cluster file
    """Return everything that is wrong with an engine's settings, each with its path (`options.contextSize`)."""
    kind = ENGINES.get(engine)
    if kind is None:
        return [_unknown(f"no engine is called {engine!r}", engine, ENGINES, where="engine", code="input.no_engine")]
    return _field_problems(kind.option_model(), options, root="options")


def read_inputs(model: type[ModelT], engine: str, inputs: Mapping[str, Any]) -> ModelT:  # Any: JSON from the user
    """Return checked inputs with defaults filled in. Raises: ProblemsError with all problems."""
    problems = check_inputs(engine, inputs)
    if problems:
        raise ProblemsError(problems)
    return model.model_validate(dict(inputs))


def read_options(model: type[ModelT], engine: str, options: Mapping[str, Any]) -> ModelT:  # Any: JSON, as above
    """Return checked settings with defaults filled in. Raises: ProblemsError with all problems."""
    problems = check_options(engine, options)
    if problems:
        raise ProblemsError(problems)
    return model.model_validate(dict(options))


def task_inputs(model: type[InputsT], inputs: Mapping[str, Any]) -> InputsT:  # Any: JSON from the user
    """Return checked inputs with defaults filled in, for an engine at work. Raises: TaskInvalidError that names all."""
    problems = _input_problems(model, inputs)
    if problems:
        what = "; ".join(f"{problem.where}: {problem.what}" for problem in problems)
        raise TaskInvalidError(what, hint=problems[0].hint)
    return model.model_validate(dict(inputs))


def _input_problems(model: type[EngineInputs], inputs: Mapping[str, Any]) -> list[Problem]:
    return [*_field_problems(model, inputs, root="inputs"), *_conflicts(model, inputs)]


def _load(reference: str) -> object:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def _conflicts(model: type[EngineInputs], inputs: Mapping[str, Any]) -> Iterator[Problem]:
    for what in model.conflicts(inputs):
        yield Problem(code="input.conflict", what=what, where="inputs")


def _field_problems(model: type[BaseModel], values: Mapping[str, Any], *, root: str) -> list[Problem]:
    from pydantic import ValidationError

    try:
        model.model_validate(dict(values))
    except ValidationError as error:
        known = [field.alias or name for name, field in model.model_fields.items()]
        return [_problem(details, known, root) for details in error.errors(include_url=False)]
    return []


def _problem(details: ErrorDetails, known: list[str], root: str) -> Problem:
    location = details["loc"]
    where = _path(root, location)
    match details["type"]:
        case "extra_forbidden":
            name = str(location[-1])
            candidates = known if len(location) == 1 else []
            return _unknown(f"unknown name {name!r}", name, candidates, where=where, code="input.unknown")
        case "missing":
            return Problem(
                code="input.missing", what=f"{location[-1]!r} is missing", where=where, hint="give it a value"
            )
        case _:
            seen = "not shown" if "env" in location else _seen(details["input"])
            return Problem(code="input.invalid", what=f"{_lower_first(details['msg'])}; seen: {seen}", where=where)


def _unknown(what: str, name: str, known: list[str] | Mapping[str, object], *, where: str, code: str) -> Problem:
    hint = did_you_mean(name, known, otherwise=f"use one of: {', '.join(sorted(known))}") if known else None
    return Problem(code=code, what=what, where=where, hint=hint)


def _path(root: str, location: tuple[int | str, ...]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return root + "".join(steps)


def _lower_first(message: str) -> str:
    return message[:1].lower() + message[1:]


_SEEN_LENGTH = 60


def _seen(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SEEN_LENGTH else f"{text[:_SEEN_LENGTH]}..."
