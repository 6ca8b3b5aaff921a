"""Places in the texts of a set's tasks, and what they stand for: `{character.look}`, `{shot}`, `{seed}`.

A text that is one place alone becomes its value as it is, so that `seed: "{seed}"` is a number. Other braces are left:
prompts have their own uses for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from corral.work import Json

SEED = "seed"
_PLACE = re.compile(r"\{((?:character|shot|variant|seed)(?:\.[A-Za-z][A-Za-z0-9_]*)?)\}")


def list_places(value: Json) -> Iterator[str]:
    """Yield the names of places in every text of a value, as often as they are there."""
    if isinstance(value, str):
        yield from (match[1] for match in _PLACE.finditer(value))
    elif isinstance(value, dict):
        for inner in value.values():  # pyright: ignore[reportUnknownVariableType]  JSON
            yield from list_places(inner)
    elif isinstance(value, list):
        for inner in value:  # pyright: ignore[reportUnknownVariableType]  JSON
            yield from list_places(inner)


def fill(value: Json, values: Mapping[str, Json]) -> Json:
    """Return a value with each place whose value is known replaced by it; others are left as they are."""
    if isinstance(value, str):
        whole = _PLACE.fullmatch(value)
        if whole is not None:
            return values.get(whole[1], value)
        return _PLACE.sub(lambda match: str(values.get(match[1], match[0])), value)
    if isinstance(value, dict):
        return {name: fill(inner, values) for name, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]  JSON
    if isinstance(value, list):
        return [fill(inner, values) for inner in value]  # pyright: ignore[reportUnknownVariableType]  JSON
    return value


def fill_seed(value: Mapping[str, Json], seed: int) -> dict[str, Json]:
    """Return a task with its seed, ready to be submitted."""
    return fill(dict(value), {SEED: seed})
