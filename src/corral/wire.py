"""The JSON of any frozen value: what the HTTP API answers and what `--json` prints are made here, so they are the same.

A dataclass becomes an object with its fields as names (the words of the domain are the words of the API), a mapping an
object, a sequence or set an array (sets sorted), a string enum its value, any other enum its name in lower case, an
instant ISO 8601 with `Z` for UTC, a duration its seconds, a path its text. A number that is not finite has no JSON and
becomes null. Fields whose names begin with `_` are not written.

Belongs here: the one rule for each kind of value, and the file that stands for the values of a task without files.
Does not belong here: shapes of one answer (they are the results of `corral.operations`).
May import: nothing of Corral but `corral.work`'s word for JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from enum import Enum, StrEnum
from pathlib import PurePath
from typing import Any, TypeVar, cast
from uuid import UUID

from corral.work import Json

Base = TypeVar("Base")


class NotWiredError(TypeError):
    """A value has no JSON: a bug in the result that holds it."""


def to_json(value: object) -> Json:
    """Return the JSON of a value, of dicts, lists, text, numbers, booleans and None. Raises: NotWiredError."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return value.value if isinstance(value, StrEnum) else value.name.lower()
    if isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date | timedelta):
        return _convert_time(value)
    if isinstance(value, PurePath | UUID):
        return str(value)
    return _convert_container(value)


def narrow(kind: type[Base], value: Base) -> Base:
    """Return the part of a dataclass that a base class of its has: a result without what is not for the wire."""
    return kind(**{field.name: getattr(value, field.name) for field in fields(cast("type[Any]", kind))})


def _convert_time(value: datetime | date | timedelta) -> Json:
    if isinstance(value, timedelta):
        return value.total_seconds()
    text = value.isoformat()
    return f"{text.removesuffix('+00:00')}Z" if isinstance(value, datetime) and text.endswith("+00:00") else text


def _convert_container(value: object) -> Json:
    kind = type(value).__name__
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_json(getattr(value, field.name)) for field in fields(value) if not field.name.startswith("_")
        }
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return {_write_key(key): to_json(item) for key, item in pairs}
    if isinstance(value, Set):
        return sorted((to_json(item) for item in cast("Set[object]", value)), key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [to_json(item) for item in cast("Sequence[object]", value)]
    raise NotWiredError(f"a {kind} has no JSON")


def _write_key(key: object) -> str:
    text = to_json(key)
    return text if isinstance(text, str) else str(text)


def write_out_values(values: Mapping[str, Json]) -> tuple[str, bytes]:
    """Return the name and the content of the file that stands for the values of a task without files.

    Its text as text, anything else as JSON.
    """
    text = values.get("text")
    if isinstance(text, str):
        return "text.txt", f"{text}\n".encode()
    return "values.json", f"{json.dumps(values, indent=2, ensure_ascii=False)}\n".encode()
