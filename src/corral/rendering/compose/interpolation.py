"""Texts in a Compose file: texts of the cluster file stay as they are, and only Corral's own references are filled in.

Compose replaces `$NAME` and `${NAME}` in every value from the environment and the file `.env`; a literal `$` is
doubled.
"""

from __future__ import annotations

from typing import cast

from corral.rendering.documents import Json


class Reference(str):
    """A text in which Compose fills in a variable."""

    __slots__ = ()


def require_variable(variable: str, what: str) -> Reference:
    """Refer to a variable without which nothing starts; `what` is a plain description of its value."""
    return Reference(f"${{{variable}:?{what}}}")


def default_variable(variable: str, otherwise: str) -> Reference:
    """Refer to a variable with a value for where it is not set."""
    return Reference(f"${{{variable}:-{otherwise}}}")


def join_parts(*parts: str) -> Reference:
    """Join texts of which some are references; the others are escaped here."""
    return Reference("".join(part if isinstance(part, Reference) else part.replace("$", "$$") for part in parts))


def escape_values(value: Json) -> Json:
    """Double each `$` of a value, except in references."""
    if isinstance(value, Reference):
        return str(value)
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [escape_values(item) for item in cast(list[Json], value)]  # isinstance says nothing of the items
    if isinstance(value, dict):
        return {key: escape_values(item) for key, item in cast(dict[str, Json], value).items()}
    return value
