"""What a change is called and what it takes, the same on the command line and in a changes file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from corral.cluster.errors import did_you_mean
from corral.errors import Problem
from corral.planning.changes.values import (
    AddGpu,
    AddNode,
    Change,
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
            code="changes.unknown_word", what=f"there is no change called {_shown(word)}", where=where, hint=hint
        )
    try:
        return maker(target, value, where)
    except _WrongError as error:
        return Problem(code="changes.bad_value", what=error.what, where=where, hint=error.hint)


def make_node(keys: Mapping[str, object], where: str) -> tuple[Change, ...] | Problem:
    """Make the change that a mapping with `name`, `gpus`, `psu` and `memory` asks for."""
    unknown = [key for key in keys if key not in _NODE_KEYS]
    if unknown:
        what = f"a new node has no key {_shown(unknown[0])}"
        return Problem(code="changes.bad_value", what=what, where=where, hint=did_you_mean(unknown[0], _NODE_KEYS))
    try:
        psu, memory = keys.get("psu"), keys.get("memory")
        node = AddNode(
            where=where,
            name=_node(keys.get("name")),
            models=_models(keys.get("gpus"), may_be_none=True),
            psu_w=None if psu is None else _watts(psu),
            memory=None if memory is None else _size(memory),
        )
    except _WrongError as error:
        return Problem(code="changes.bad_value", what=error.what, where=where, hint=error.hint)
    return (node,)


def _replace(target: str, value: object, where: str) -> tuple[Change, ...]:
    return (ReplaceGpu(where=where, gpu=_gpu(target), model=_model(value)),)


def _add(target: str, value: object, where: str) -> tuple[Change, ...]:
    node = _node(target)
    return tuple(AddGpu(where=where, node=node, model=model) for model in _models(value, may_be_none=False))


def _remove(target: str, value: object, where: str) -> tuple[Change, ...]:
    if value is not None:
        raise _WrongError(f"a card that is removed takes no value, not {_shown(value)}", "write `node/gpu0` alone")
    return (RemoveGpu(where=where, gpu=_gpu(target)),)


def _move(target: str, value: object, where: str) -> tuple[Change, ...]:
    return (MoveGpu(where=where, gpu=_gpu(target), to=_node(value)),)


def _add_node(target: str, value: object, where: str) -> tuple[Change, ...]:
    return (AddNode(where=where, name=_node(target), models=_models(value, may_be_none=True)),)


def _limit(target: str, value: object, where: str) -> tuple[Change, ...]:
    match = _GPU.fullmatch(target)
    node = match[1] if match else _node(target)
    return (LimitPower(where=where, node=node, index=int(match[2]) if match else None, watts=_watts(value)),)


def _psu(target: str, value: object, where: str) -> tuple[Change, ...]:
    return (SetPsu(where=where, node=_node(target), watts=_watts(value)),)


def _memory(target: str, value: object, where: str) -> tuple[Change, ...]:
    return (SetMemory(where=where, node=_node(target), memory=_size(value)),)


_MAKERS: Mapping[str, Callable[[str, object, str], tuple[Change, ...]]] = {
    "replace": _replace,
    "add": _add,
    "remove": _remove,
    "move": _move,
    "add-node": _add_node,
    "limit": _limit,
    "psu": _psu,
    "memory": _memory,
}
WORDS = tuple(_MAKERS)
"""Every word, in the order in which help lists them."""
_NODE_KEYS = ("name", "gpus", "psu", "memory")


def _gpu(target: str) -> GpuAddress:
    match = _GPU.fullmatch(target)
    if match is None:
        raise _WrongError(f"not a GPU: {_shown(target)}", "write `node/gpu0`: the node's name and the card's index")
    return GpuAddress(node=match[1], index=int(match[2]))


def _node(name: object) -> str:
    if not isinstance(name, str) or not _NODE.fullmatch(name):
        raise _WrongError(
            f"not the name of a node: {_shown(name)}", "write the node's name, as the cluster file has it"
        )
    return name


def _model(value: object) -> str:
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text:
        raise _WrongError(f"not a GPU model: {_shown(value)}", 'write the model behind it, such as "RTX 5070 Ti"')
    return text


def _models(value: object, *, may_be_none: bool) -> tuple[str, ...]:
    """Read one model or several, as a list or with commas between; no model's name has a comma."""
    if value is None and may_be_none:
        return ()
    parts = list(value) if isinstance(value, list) else str(value).split(",") if isinstance(value, str) else [value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return tuple(_model(part) for part in parts)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _watts(value: object) -> int:
    match = (
        _WATTS.fullmatch(str(value).strip()) if isinstance(value, str | int) and not isinstance(value, bool) else None
    )
    if match is None or not 0 < int(match[1]) <= _MOST_WATTS:
        raise _WrongError(f"not a number of watts: {_shown(value)}", f"write watts, from 1 to {_MOST_WATTS}")
    return int(match[1])


def _size(value: object) -> Bytes:
    try:
        size = parse_bytes(value) if isinstance(value, str) else parse_bytes(str(value))
    except UnitError as error:
        raise _WrongError(error.what, error.hint or "write a size such as 64Gi") from None
    if not 0 < size <= _MOST_BYTES:
        raise _WrongError(
            f"a size must be more than 0 and at most 1024 PiB, not {_shown(value)}", "write the real size"
        )
    return size


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
