"""The failures of an instance, and what its refusals and failures mean to the queue.

Translation happens here once: ComfyUI's error types and messages in, errors with a scope, a place and a hint out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from corral.errors import Kind, Problem
from corral.narrowing import as_list, as_object, as_text
from corral.work import EngineError, EngineUnavailableError, Json, SlotLacksError, TaskInvalidError

LONGEST_QUOTE = 500
"""Characters of a foreign message that are quoted; ComfyUI puts whole tensors and option lists into some."""


class InstanceUnreachableError(EngineUnavailableError):
    """The instance did not answer; `received` is true when the request might have reached it."""

    code = "comfyui.unreachable"

    def __init__(self, what: str, *, where: str, received: bool) -> None:
        super().__init__(what, where=where, hint="start ComfyUI there, or correct the engine's url in the cluster file")
        self.received = received


class InstanceAnswerError(EngineUnavailableError):
    """Something answered, but not the way ComfyUI does; `status` is the HTTP status."""

    code = "comfyui.bad_answer"

    def __init__(self, what: str, *, where: str, status: int, hint: str | None = None) -> None:
        super().__init__(what, where=where, hint=hint or "look at the log of the ComfyUI instance")
        self.status = status


class AdapterClosedError(EngineUnavailableError):
    """The engine was closed; Corral is stopping, or the cluster file no longer has it."""

    code = "comfyui.closed"


class WorkflowInvalidError(TaskInvalidError):
    """The workflow, or what the task puts into it, cannot run; carries every problem that was found."""

    code = "comfyui.workflow_invalid"
    kind = Kind.INVALID

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        super().__init__(first.what, where=first.where, hint=first.hint)
        self._problems = tuple(problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self._problems


class InstanceLacksError(SlotLacksError):
    """The instance lacks what the workflow needs: a custom node, a model, a file; another can have it."""

    code = "comfyui.lacking"

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        super().__init__(first.what, where=first.where, hint=first.hint)
        self._problems = tuple(problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self._problems


class RequestRefusedError(TaskInvalidError):
    """The instance refuses what this task sends or asks for, however often it is asked."""

    code = "comfyui.refused"


class ExecutionFailedError(EngineError):
    """A node of the workflow failed while it ran."""

    code = "comfyui.execution_failed"


class InstanceOutOfMemoryError(ExecutionFailedError):
    """A node ran out of the GPU's memory."""

    code = "comfyui.out_of_memory"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


class PromptInterruptedError(EngineError):
    """Another client interrupted or deleted the prompt."""

    code = "comfyui.interrupted"


class PromptLostError(EngineError):
    """The instance no longer knows the prompt that it had accepted."""

    code = "comfyui.prompt_lost"


class OutputMissingError(EngineError):
    """The instance names an output that it cannot give."""

    code = "comfyui.output_missing"


class OutputUnwritableError(EngineError):
    """An output could not be written on this machine: its disk is full, or the scratch folder is gone."""

    code = "comfyui.output_unwritable"


class InstanceStuckError(EngineUnavailableError):
    """The instance does not let go of a prompt that nothing waits for any more."""

    code = "comfyui.stuck"


Choices = Mapping[tuple[str, str], Sequence[str]]
"""The values that a node's input can have, by class and input name; the instance is asked if its refusal omits them."""


def list_refused_choices(answer: Json) -> tuple[tuple[str, str], ...]:
    """List the (class, input) pairs whose value was not in a list that the refusal itself leaves out."""
    return tuple(
        (class_type, as_text(as_object(error.get("extra_info")).get("input_name")))
        for _, class_type, error in _list_node_errors(answer)
        if error.get("type") == "value_not_in_list" and not _read_own_choices(error)
    )


_LACKS = frozenset({"value_not_in_list", "custom_validation_failed"})
"""Refusals of values that are names of what an instance has: models, and files that its nodes look for."""


def translate_refusal(
    answer: Json, *, where: str, choices: Choices | None = None
) -> WorkflowInvalidError | InstanceLacksError:
    """Translate the body of a refused (or only partly accepted) prompt; `where` is the instance.

    It is the instance that lacks something if nothing else is wrong: then another instance can have it.
    """
    errors = list(_list_node_errors(answer))
    if not errors:
        whole = as_object(as_object(answer).get("error"))
        problem = _describe_whole_problem(whole, where)
        return InstanceLacksError([problem]) if _is_missing_class(whole) else WorkflowInvalidError([problem])
    problems = [_describe_node_problem(node, kind, error, where, choices or {}) for node, kind, error in errors]
    is_lacking = all(as_text(error.get("type")) in _LACKS for _, _, error in errors)
    return InstanceLacksError(problems) if is_lacking else WorkflowInvalidError(problems)


def _is_missing_class(error: dict[str, Json]) -> bool:
    """Say whether a node's class is not installed; old versions have no type of their own for it."""
    return error.get("type") == "missing_node_type" or "does not exist" in as_text(error.get("message"))


def _list_node_errors(answer: Json) -> Iterable[tuple[str, str, dict[str, Json]]]:
    for node, report in as_object(as_object(answer).get("node_errors")).items():
        for error in as_list(as_object(report).get("errors")):
            yield node, as_text(as_object(report).get("class_type")), as_object(error)


def _describe_node_problem(node: str, class_type: str, error: dict[str, Json], where: str, choices: Choices) -> Problem:
    extra = as_object(error.get("extra_info"))
    name = as_text(extra.get("input_name"))
    place = f"{where} node {node} ({class_type})" + (f" input {name!r}" if name else "")
    options = _read_own_choices(error) or choices.get((class_type, name), ())
    return Problem(
        code=f"comfyui.{as_text(error.get('type')) or 'refused'}",
        what=_compose_sentence(error),
        where=place,
        hint=_make_hint(as_text(error.get("type")), node, name, extra.get("received_value"), options),
    )


def _describe_whole_problem(error: dict[str, Json], where: str) -> Problem:
    kind = as_text(error.get("type")) or "refused"
    extra = as_object(error.get("extra_info"))
    node = as_text(extra.get("node_id"))
    what = _compose_sentence(error)
    hint = None
    if _is_missing_class(error):
        hint = "install the custom node that brings it on this instance, or change the workflow"
    if kind == "prompt_no_outputs":
        hint = "add a node that saves something, such as SaveImage"
    place = f"{where} node {node} ({as_text(extra.get('class_type'))})" if node else where
    return Problem(code=f"comfyui.{kind}", what=what, where=place, hint=hint)


def _make_hint(kind: str, node: str, name: str, value: Json, options: Sequence[str]) -> str | None:
    match kind:
        case "value_not_in_list":
            return _make_choice_hint(str(value), options)
        case "required_input_missing":
            return f"add {name!r} to the inputs of node {node} in the workflow, or export it again from this ComfyUI"
        case "value_smaller_than_min" | "value_bigger_than_max" | "invalid_input_type":
            return f'change it: set: {{"{node}.{name}": ...}}'
        case "bad_linked_input" | "return_type_mismatch" | "dependency_cycle":
            return "open the workflow in ComfyUI, repair its links and export it again"
        case _:
            return None


def _make_choice_hint(value: str, options: Sequence[str]) -> str:
    near = find_close_matches(value, options)
    if near:
        return f"did you mean {' or '.join(repr(name) for name in near)}?"
    if options:
        return f"use one of: {', '.join(options[:10])}"
    return f"put the file {value!r} into the instance's models folder, or name one that is there"


def find_close_matches(value: str, options: Iterable[str]) -> list[str]:
    """Find up to three names that look like `value`; folders and endings count less than the name itself."""
    by_stem = {_stem(option): option for option in options}
    return [by_stem[stem] for stem in difflib.get_close_matches(_stem(value), by_stem, n=3, cutoff=0.6)]


def _stem(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0].lower()


def _read_own_choices(error: dict[str, Json]) -> tuple[str, ...]:
    config = as_list(as_object(error.get("extra_info")).get("input_config"))
    return read_choices(config)


def read_choices(config: Sequence[Json]) -> tuple[str, ...]:
    """Read the options of an input description: `[[...], {}]`, or `["COMBO", {"options": [...]}]` in newer nodes."""
    if not config:
        return ()
    listed = as_list(config[0]) or as_list(as_object(config[1] if len(config) > 1 else None).get("options"))
    return tuple(option for option in listed if isinstance(option, str))


def _compose_sentence(error: dict[str, Json]) -> str:
    message = as_text(error.get("message")).rstrip(".") or "refused without a message"
    details = as_text(error.get("details")).strip()
    return shorten(f"{message}: {details}" if details and details != message else message)


def shorten(text: str) -> str:
    """Bound a foreign message to what a person reads, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_QUOTE else line[: LONGEST_QUOTE - 1] + "…"


def translate_execution_failure(messages: Sequence[Json], *, where: str) -> EngineError:
    """Translate the status messages of a prompt that ended in an error; `where` is the instance."""
    for message in reversed(messages):
        event, data = (*as_list(message), None, None)[:2]
        details = as_object(data)
        if event == "execution_error":
            return _translate_execution_error(details, where)
        if event == "execution_interrupted":
            return PromptInterruptedError(
                "the prompt was interrupted by another client", where=_name_node(details, where)
            )
    return ExecutionFailedError("the prompt ended in an error that the instance does not describe", where=where)


def _translate_execution_error(details: dict[str, Json], where: str) -> EngineError:
    kind = as_text(details.get("exception_type")) or "an exception"
    message = shorten(as_text(details.get("exception_message"))) or "no message"
    place = _name_node(details, where)
    if "OutOfMemory" in kind or "out of memory" in message.lower() or "Allocation on device" in message:
        return InstanceOutOfMemoryError(
            f"the GPU ran out of memory: {message}",
            where=place,
            hint="lower the size or the batch, or name the memory this task needs so that it goes to a larger GPU",
        )
    return ExecutionFailedError(f"{kind}: {message}", where=place)


def _name_node(details: dict[str, Json], where: str) -> str:
    node = as_text(details.get("node_id"))
    return f"{where} node {node} ({as_text(details.get('node_type'))})" if node else where
