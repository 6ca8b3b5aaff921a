"""Random seeds and wildcards: drawn once for each task, when its batch is submitted.

What is drawn follows from the idempotency key, the task's name and the place alone. So the same key draws the same, and
what was drawn is in the task's inputs, where everybody sees it and a retry keeps it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from corral.engine_kinds import ENGINES
from corral.work import Json

RANDOM = "random"
"""In the place of a seed: one of the task's own."""
_SEEDS = 2**32 - 1
"""How many seeds there are to draw: llama.cpp takes those below 2**32 - 1, ComfyUI and Ollama more."""
_WILDCARD = re.compile(r"__([A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*)__")
_OBJECTS = frozenset(name for kind in ENGINES.values() for name in kind.object_inputs)
"""Inputs that are taken as they are: whole workflows, which have wildcards and seeds of their own."""

Wildcards = Mapping[str, Sequence[str]]


def make_key() -> str:
    """Make a key that nothing was drawn from before."""
    return uuid4().hex


def draw(request: Mapping[str, Json], wildcards: Wildcards, key: str) -> dict[str, Json]:
    """Return a batch's request with every random seed and wildcard drawn; a drawn input is the task's own."""
    common: Mapping[str, Json] = request.get("defaults", {}).get("inputs", {})
    tasks: list[Json] = []
    for task in request["tasks"]:
        own: Mapping[str, Json] = task.get("inputs", {})
        inputs = {**common, **own}
        drawn = draw_inputs(inputs, wildcards, f"{key}\n{task['name']}")
        changed = {name: value for name, value in drawn.items() if value != inputs[name]}
        tasks.append({**task, "inputs": {**own, **changed}} if changed else task)
    return {**request, "tasks": tasks}


def draw_inputs(inputs: Mapping[str, Json], wildcards: Wildcards, key: str) -> dict[str, Json]:
    """Return the inputs of one task with everything drawn."""
    return {
        name: value if name in _OBJECTS else _draw_value(value, wildcards, key, name) for name, value in inputs.items()
    }


def has_seed(inputs: Mapping[str, Json]) -> bool:
    """Whether any of the inputs is a seed."""
    return any(_is_seed(place) for name in inputs if name not in _OBJECTS for place, _ in _walk(inputs[name], name))


def find_names(text: str) -> Iterator[str]:
    """Yield what a text has in the form of a wildcard, by name."""
    return (match[1] for match in _WILDCARD.finditer(text))


def list_wildcards(inputs: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """Yield the name of an input and each wildcard in it."""
    for name in inputs:
        if name not in _OBJECTS:
            for _, value in _walk(inputs[name], name):
                if isinstance(value, str):
                    yield from ((name, wildcard) for wildcard in find_names(value))


def _draw_value(value: Any, wildcards: Wildcards, key: str, place: str) -> Json:  # Any: JSON, narrowed here
    if isinstance(value, dict):
        return {name: _draw_value(part, wildcards, key, f"{place}.{name}") for name, part in value.items()}  # pyright: ignore[reportUnknownVariableType]  as above
    if isinstance(value, list):
        return [_draw_value(part, wildcards, key, f"{place}.{index}") for index, part in enumerate(value)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  as above
    if value == RANDOM and _is_seed(place):
        return _draw_number(key, place) % _SEEDS
    if isinstance(value, str) and wildcards:
        return _replace_wildcards(value, wildcards, f"{key}\n{place}")
    return value


def _replace_wildcards(text: str, wildcards: Wildcards, key: str) -> str:
    def choose(match: re.Match[str]) -> str:
        lines = wildcards.get(match[1])
        return lines[_draw_number(key, str(match.start())) % len(lines)] if lines else match[0]

    return _WILDCARD.sub(choose, text)


def _draw_number(key: str, place: str) -> int:
    """Draw 64 bits; the lists are short enough for the remainder to be fair."""
    return int.from_bytes(hashlib.sha256(f"{key}\n{place}".encode()).digest()[:8])


def _is_seed(place: str) -> bool:
    return place.rpartition(".")[2] in ("seed", "noise_seed")


def _walk(value: Any, place: str) -> Iterator[tuple[str, Json]]:  # Any: as above
    if isinstance(value, dict):
        for name, part in value.items():  # pyright: ignore[reportUnknownVariableType]  as above
            yield from _walk(part, f"{place}.{name}")
    elif isinstance(value, list):
        for index, part in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  as above
            yield from _walk(part, f"{place}.{index}")
    else:
        yield place, value
