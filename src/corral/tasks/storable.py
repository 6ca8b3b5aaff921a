"""Makes text and JSON of engines such that PostgreSQL takes them.

It holds no NUL, no lone surrogate (Python makes them of file names that are not UTF-8) and, in JSON, no NaN and no
infinity. One such value would fail the transaction that carries it, and with it the outcomes of all others, for ever.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import cast

from corral.errors import Problem
from corral.work import Json

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable_text(text: str) -> str:
    """Return the text with a replacement character for each that cannot be stored."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def storable_json(value: Json) -> Json:
    """Return the value with its text storable, and null for what is not a number."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        items = cast("Mapping[object, Json]", value).items()  # JSON: the keys are text
        return {storable_text(str(key)): storable_json(member) for key, member in items}
    if isinstance(value, Sequence):
        return [storable_json(member) for member in cast("Sequence[Json]", value)]
    return value


def storable_problem(problem: Problem) -> Problem:
    """Return the problem with its text storable."""
    return Problem(
        code=problem.code,
        what=storable_text(problem.what),
        where=None if problem.where is None else storable_text(problem.where),
        hint=None if problem.hint is None else storable_text(problem.hint),
    )
