"""Checks of a task's inputs and of an engine's options, for submission, the engines themselves and the docs.

The models of both are named in `corral.engine_kinds` and not imported: pydantic and the models load when inputs are
first checked, so that `corral --help` does not pay for them.

Belongs here: loading the code that a kind names, and turning pydantic's complaints into our problems.
Does not belong here: the fields (`inputs` in each engine's folder), running anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

from corral.engine_facts import EngineKind
from corral.engine_kinds import ENGINES
from corral.errors import Problem, ProblemsError, did_you_mean
from corral.work import TaskInvalidError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from corral.engines.schema import EngineInputs, EngineOptions

_SUGGESTED = 100
"""Unknown names of one value that get a suggestion: to find one takes 0.1 ms, and a body can have a million names."""
ModelT = TypeVar("ModelT", bound="BaseModel")
InputsT = TypeVar("InputsT", bound="EngineInputs")


def load_reference(reference: str) -> object:
    """Import the code that a fact of an engine names as `module:name`."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def load_inputs(kind: EngineKind) -> type[EngineInputs]:
    """Load the model of an engine's inputs."""
    return cast("type[EngineInputs]", load_reference(kind.inputs))  # the registry's own strings; a test loads them all


def load_options(kind: EngineKind) -> type[EngineOptions]:
    """Load the model of an engine's options."""
    return cast("type[EngineOptions]", load_reference(kind.options))  # as above


def check_inputs(engine: str, inputs: Mapping[str, Any]) -> list[Problem]:  # Any: JSON from the user
    """Return everything that is wrong with the inputs of a task, each with its path (`inputs.max_tokens`)."""
    kind = ENGINES.get(engine)
    if kind is None:
        return [_report_unknown_engine(engine)]
    return _find_input_problems(load_inputs(kind), inputs)


def find_model_name(engine: str, model: str | None, inputs: Mapping[str, Any]) -> str | None:  # Any: JSON from the user
    """Return the name under which the engine knows the model of a task, as it will name it when it is resident."""
    kind = ENGINES.get(engine)
    if kind is None or kind.model_name is None:
        return model
    named = cast("Callable[[str | None, Mapping[str, Any]], str | None]", load_reference(kind.model_name))  # as above
    return named(model, inputs)


def check_options(engine: str, options: Mapping[str, Any]) -> list[Problem]:  # Any: JSON from the cluster file
    """Return everything that is wrong with an engine's settings, each with its path (`options.contextSize`)."""
    kind = ENGINES.get(engine)
    if kind is None:
        return [_report_unknown_engine(engine)]
    return find_field_problems(load_options(kind), options, root="options")


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


def read_task_inputs(model: type[InputsT], inputs: Mapping[str, Any]) -> InputsT:  # Any: JSON from the user
    """Return checked inputs with defaults filled in, for an engine at work. Raises: TaskInvalidError that names all."""
    problems = _find_input_problems(model, inputs)
    if problems:
        what = "; ".join(f"{problem.where}: {problem.what}" for problem in problems)
        raise TaskInvalidError(what, hint=problems[0].hint)
    return model.model_validate(dict(inputs))


def _find_input_problems(model: type[EngineInputs], inputs: Mapping[str, Any]) -> list[Problem]:
    return [*find_field_problems(model, inputs, root="inputs"), *_list_conflicts(model, inputs)]


def _list_conflicts(model: type[EngineInputs], inputs: Mapping[str, Any]) -> Iterator[Problem]:
    for what in model.list_conflicts(inputs):
        yield Problem(code="input.conflict", what=what, where="inputs")


def find_field_problems(
    model: type[BaseModel],
    values: Mapping[str, Any],  # Any: JSON from the user
    *,
    root: str = "",
) -> list[Problem]:
    """Return everything that is wrong with the fields of a model, each with its path below `root`."""
    from pydantic import ValidationError

    try:
        model.model_validate(dict(values))
    except ValidationError as error:
        known = [field.alias or name for name, field in model.model_fields.items()]
        listed = enumerate(error.errors(include_url=False))
        return [_make_problem(details, known if number < _SUGGESTED else [], root) for number, details in listed]
    return []


def _make_problem(details: ErrorDetails, known: list[str], root: str) -> Problem:
    location = details["loc"]
    where = _format_path(root, location)
    match details["type"]:
        case "extra_forbidden":
            name = str(location[-1])
            candidates = known if len(location) == 1 else []
            return _report_unknown(f"unknown name {name!r}", name, candidates, where=where, code="input.unknown")
        case "missing":
            return Problem(
                code="input.missing", what=f"{location[-1]!r} is missing", where=where, hint="give it a value"
            )
        case _:
            seen = "not shown" if "env" in location else _quote_value(details["input"])
            return Problem(code="input.invalid", what=f"{_lower_first(details['msg'])}; seen: {seen}", where=where)


def _report_unknown_engine(engine: str) -> Problem:
    return _report_unknown(f"no engine is called {engine!r}", engine, ENGINES, where="engine", code="input.no_engine")


def _report_unknown(what: str, name: str, known: list[str] | Mapping[str, object], *, where: str, code: str) -> Problem:
    hint = did_you_mean(name, known, otherwise=f"use one of: {', '.join(sorted(known))}") if known else None
    return Problem(code=code, what=what, where=where, hint=hint)


def _format_path(root: str, location: tuple[int | str, ...]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return (root + "".join(steps)).removeprefix(".")


def _lower_first(message: str) -> str:
    return message[:1].lower() + message[1:]


_SEEN_LENGTH = 60


def _quote_value(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SEEN_LENGTH else f"{text[:_SEEN_LENGTH]}..."
