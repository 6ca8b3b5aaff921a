"""Changes read from the words of a command line and from a changes file, with the same names in both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from corral.cluster.document import Document, YamlPath
from corral.cluster.parsing import read
from corral.errors import Problem, did_you_mean
from corral.planning.changes.values import (
    AddGpu,
    AddNode,
    Change,
    ChangesError,
    GpuAddress,
    LimitPower,
    MoveGpu,
    RemoveGpu,
    ReplaceGpu,
    SetMemory,
    SetPsu,
)
from corral.units import Bytes, UnitError, parse_bytes

_GPU = re.compile(r"([^/\s]+)/gpu(\d{1,3})", re.ASCII)
_NODE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_WATTS = re.compile(r"(\d{1,6})\s*W?", re.ASCII)
_MOST_WATTS = 100_000  # what the cluster file takes
_MOST_BYTES = 2**60  # the same
_LONGEST_SHOWN = 60


class _WrongError(Exception):
    """A target or value that is not of its kind: the fact, then what to do."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what, self.hint = what, hint


def make(word: str, target: str, value: object, where: str) -> tuple[Change, ...] | Problem:
    """Make the changes that one word asks for; `value` is None where none was given."""
    maker = _MAKERS.get(word)
    if maker is None:
        hint = did_you_mean(word, _MAKERS)
        return Problem(
            code="changes.unknown_word", what=f"there is no change called {_shorten(word)}", where=where, hint=hint
        )
    try:
        return maker(target, value, where)
    except _WrongError as error:
        return Problem(code="changes.bad_value", what=error.what, where=where, hint=error.hint)


def make_node(keys: Mapping[str, object], where: str) -> tuple[Change, ...] | Problem:
    """Make the change that a mapping with `name`, `gpus`, `psu` and `memory` asks for."""
    unknown = [key for key in keys if key not in _NODE_KEYS]
    if unknown:
        what = f"a new node has no key {_shorten(unknown[0])}"
        return Problem(code="changes.bad_value", what=what, where=where, hint=did_you_mean(unknown[0], _NODE_KEYS))
    try:
        psu, memory = keys.get("psu"), keys.get("memory")
        node = AddNode(
            where=where,
            name=_read_node_name(keys.get("name")),
            models=_read_models(keys.get("gpus"), may_be_none=True),
            psu_w=None if psu is None else _read_watts(psu),
            memory=None if memory is None else _read_size(memory),
        )
    except _WrongError as error:
        return Problem(code="changes.bad_value", what=error.what, where=where, hint=error.hint)
    return (node,)


def _replace(target: str, value: object, where: str) -> tuple[Change, ...]:
    return (ReplaceGpu(where=where, gpu=_read_gpu(target), model=_read_model(value)),)


def _add(target: str, value: object, where: str) -> tuple[Change, ...]:
    node = _read_node_name(target)
    return tuple(AddGpu(where=where, node=node, model=model) for model in _read_models(value, may_be_none=False))


def _remove(target: str, value: object, where: str) -> tuple[Change, ...]:
    if value is not None:
        raise _WrongError(f"a GPU that is removed takes no value, not {_shorten(value)}", "write `node/gpu0` alone")
    return (RemoveGpu(where=where, gpu=_read_gpu(target)),)


def _move(target: str, value: object, where: str) -> tuple[Change, ...]:
    return (MoveGpu(where=where, gpu=_read_gpu(target), to=_read_node_name(value)),)


def _add_node(target: str, value: object, where: str) -> tuple[Change, ...]:
    return (AddNode(where=where, name=_read_node_name(target), models=_read_models(value, may_be_none=True)),)


def _limit_power(target: str, value: object, where: str) -> tuple[Change, ...]:
    match = _GPU.fullmatch(target)
    node = match[1] if match else _read_node_name(target)
    return (LimitPower(where=where, node=node, index=int(match[2]) if match else None, watts=_read_watts(value)),)


def _set_psu(target: str, value: object, where: str) -> tuple[Change, ...]:
    return (SetPsu(where=where, node=_read_node_name(target), watts=_read_watts(value)),)


def _set_memory(target: str, value: object, where: str) -> tuple[Change, ...]:
    return (SetMemory(where=where, node=_read_node_name(target), memory=_read_size(value)),)


_MAKERS: Mapping[str, Callable[[str, object, str], tuple[Change, ...]]] = {
    "replace": _replace,
    "add": _add,
    "remove": _remove,
    "move": _move,
    "add-node": _add_node,
    "limit": _limit_power,
    "psu": _set_psu,
    "memory": _set_memory,
}
_NODE_KEYS = ("name", "gpus", "psu", "memory")


def _read_gpu(target: str) -> GpuAddress:
    match = _GPU.fullmatch(target)
    if match is None:
        raise _WrongError(f"not a GPU: {_shorten(target)}", "write `node/gpu0`: the node's name and the GPU's index")
    return GpuAddress(node=match[1], index=int(match[2]))


def _read_node_name(name: object) -> str:
    if not isinstance(name, str) or not _NODE.fullmatch(name):
        raise _WrongError(
            f"not the name of a node: {_shorten(name)}", "write the node's name, as the cluster file has it"
        )
    return name


def _read_model(value: object) -> str:
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text:
        raise _WrongError(f"not a GPU model: {_shorten(value)}", 'write the model behind it, such as "RTX 5070 Ti"')
    return text


def _read_models(value: object, *, may_be_none: bool) -> tuple[str, ...]:
    """Read one model or several, as a list or with commas between; no model's name has a comma."""
    if value is None and may_be_none:
        return ()
    parts = list(value) if isinstance(value, list) else str(value).split(",") if isinstance(value, str) else [value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return tuple(_read_model(part) for part in parts)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _read_watts(value: object) -> int:
    match = (
        _WATTS.fullmatch(str(value).strip()) if isinstance(value, str | int) and not isinstance(value, bool) else None
    )
    if match is None or not 0 < int(match[1]) <= _MOST_WATTS:
        raise _WrongError(f"not a number of watts: {_shorten(value)}", f"write watts, from 1 to {_MOST_WATTS}")
    return int(match[1])


def _read_size(value: object) -> Bytes:
    try:
        size = parse_bytes(value) if isinstance(value, str) else parse_bytes(str(value))
    except UnitError as error:
        raise _WrongError(error.what, error.hint or "write a size such as 64Gi") from None
    if not 0 < size <= _MOST_BYTES:
        raise _WrongError(
            f"a size must be more than 0 and at most 1024 PiB, not {_shorten(value)}", "write the real size"
        )
    return size


def _shorten(value: object) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def parse_options(options: Iterable[tuple[str, str]]) -> tuple[Change, ...]:
    """Read options as pairs of a word without dashes (`replace`) and its value (`node/gpu1=RTX 5070 Ti`).

    Raises: ChangesError with every option that cannot be read.
    """
    changes: list[Change] = []
    problems: list[Problem] = []
    for word, text in options:
        target, equals, value = text.partition("=")
        made = make(word, target.strip(), value.strip() if equals else None, f"--{word} {target.strip()}".strip())
        if isinstance(made, Problem):
            problems.append(made)
        else:
            changes.extend(made)
    if problems:
        raise ChangesError(problems, readable=changes)
    return tuple(changes)


_EXAMPLE = "write a list, such as `- replace: {node/gpu1: RTX 5070 Ti}`"
_LINE_AND_COLUMN = re.compile(r":(\d+):(\d+)$")
_MOST_VALUES = 10_000  # a thousand changes have about this many


def parse_file(text: str, *, filename: str) -> tuple[Change, ...]:
    """Read the text of a changes file; `filename` is shown in problems and as the place of each change.

    Raises: ChangesError with every problem of the file, by line and column.
    """
    document = read(text, filename=filename, most_values=_MOST_VALUES)
    problems = [_reword(problem) for problem in document.sort_problems()]
    if not isinstance(document.value, list) or not document.value:
        what = "a changes file is a list, and this is none" if document.value else "the changes file is empty"
        problem = Problem(code="changes.bad_value", what=what, where=f"{filename}:1:1", hint=_EXAMPLE)
        raise ChangesError(problems or [problem])
    changes: list[Change] = []
    for made in _make_changes(document):
        if isinstance(made, Problem):
            problems.append(made)
        else:
            changes.extend(made)
    if problems:
        raise ChangesError(sorted(problems, key=_find_line_and_column), readable=changes)
    return tuple(changes)


def _make_changes(document: Document) -> Iterator[tuple[Change, ...] | Problem]:
    for index, entry in enumerate(document.value):
        change = _read_mapping(entry)
        if not change:
            what = "an entry is not a change"
            yield Problem(code="changes.bad_value", what=what, where=_find_place(document, (index,)), hint=_EXAMPLE)
        for word, asked in change.items():
            yield from _make_entry(document, word, asked, (index, word))


def _make_entry(
    document: Document, word: str, asked: Any, at: YamlPath
) -> Iterator[tuple[Change, ...] | Problem]:  # plain YAML
    where = _find_place(document, at)
    targets = _read_mapping(asked)
    if not targets:
        yield make(word, "" if asked is None else str(asked), None, where)
    elif word == "add-node":
        yield make_node(targets, where)
    for target, value in targets.items() if word != "add-node" else ():
        yield make(word, target, value, _find_place(document, (*at, target)))


def _read_mapping(value: Any) -> Mapping[str, Any]:  # plain YAML
    mapping: Mapping[str, Any] = value
    return mapping if isinstance(value, dict) else {}


def _find_place(document: Document, at: YamlPath) -> str:
    position = document.keys.get(at) or document.values.get(at)
    return f"{document.filename}:{position.line}:{position.column}" if position else document.filename


def _reword(problem: Problem) -> Problem:
    return replace(problem, code=f"changes.{problem.code.partition('.')[2]}")


def _find_line_and_column(problem: Problem) -> tuple[int, int]:
    match = _LINE_AND_COLUMN.search((problem.where or "").partition(" ")[0])
    return (int(match[1]), int(match[2])) if match else (0, 0)
