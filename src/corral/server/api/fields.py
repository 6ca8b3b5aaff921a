"""Types that the other parts of a request are checked with, so that PostgreSQL never sees what it cannot hold.

Lists continue from a cursor: the id of the last entry shown, as text that clients hand back unread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

from fastapi import Query
from pydantic import Field, StringConstraints

from corral.requests import Id, LongWord, Word
from corral.tasks.store.reading import MAX_PAGE

__all__ = [
    "Cursor",
    "Digest",
    "EventId",
    "Id",
    "Labels",
    "Limit",
    "LongWord",
    "Numbered",
    "Word",
    "find_next",
    "id_of",
    "read_labels",
]

EventId = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Names a line of the story; 0 is before the first."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256, 64 lower-case hexadecimal digits."""

Cursor = Annotated[
    str | None, Query(pattern=r"^[1-9][0-9]{0,17}$", description="`next` of the page before; leave out for the first")
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
_Label = Annotated[Word, StringConstraints(pattern="^[^=]+=")]
Labels = Annotated[list[_Label] | None, Query(max_length=32, description="`key=value`; all of these keys")]


class Numbered(Protocol):
    """Has an id."""

    @property
    def id(self) -> int: ...


def id_of(cursor: Cursor) -> int | None:
    """Return the id that a cursor means; None before the first page."""
    return None if cursor is None else int(cursor)


def find_next(entries: Sequence[Numbered], limit: int) -> str | None:
    """Return where the list goes on; None when the page was not full."""
    return str(entries[-1].id) if len(entries) == limit else None


def read_labels(labels: Labels) -> dict[str, str] | None:
    """Return labels by their keys; None where none are asked for."""
    return None if labels is None else {key: value for key, _, value in (text.partition("=") for text in labels)}
