"""Narrowing of JSON from elsewhere to the expected shape, else an empty one.

The other side can be older, newer or patched; a field of another shape is treated like one that is absent.

Belongs here: one function for each kind of JSON value.
Does not belong here: checks that report what is wrong.
May import: nothing of Corral but `corral.work`'s word for JSON.
"""

from __future__ import annotations

from typing import cast

from corral.work import Json


def as_object(value: Json) -> dict[str, Json]:
    """Return `value` if it is a JSON object, else an empty one."""
    return cast("dict[str, Json]", value) if isinstance(value, dict) else {}  # JSON object keys are always text


def as_list(value: Json) -> list[Json]:
    """Return `value` if it is a JSON array, else an empty one."""
    return cast("list[Json]", value) if isinstance(value, list) else []


def as_text(value: Json) -> str:
    """Return `value` if it is text, else an empty one."""
    return value if isinstance(value, str) else ""


def as_number(value: Json) -> float | None:
    """Return `value` if it is a number, else None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
