"""Texts in a Compose file: what the cluster file says stays as it is, and only references of ours are filled in.

Compose replaces `$NAME` and `${NAME}` in every value from the environment and the file `.env`; a `$` that is meant is
written twice.
"""

from __future__ import annotations

from typing import cast

from corral.rendering.documents import Json


class Reference(str):
    """A text in which Compose fills in a variable."""

    __slots__ = ()


def wanted(variable: str, what: str) -> Reference:
    """A variable without which nothing starts; `what` says what it is to be set to, in plain words."""
    return Reference(f"${{{variable}:?{what}}}")


def escaped(value: Json) -> Json:
    """Double each `$` of a value, except in references."""
    if isinstance(value, Reference):
        return str(value)
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [escaped(one) for one in cast(list[Json], value)]  # isinstance tells nothing of what is inside
    if isinstance(value, dict):
        return {key: escaped(one) for key, one in cast(dict[str, Json], value).items()}
    return value
