"""Lists continue from a cursor: the id of the last thing shown, as text that clients hand back unread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

from fastapi import Query

from corral.tasks.store.reading import MAX_PAGE

Cursor = Annotated[
    str | None, Query(pattern=r"^[1-9][0-9]{0,17}$", description="`next` of the page before; leave out for the first")
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


class Numbered(Protocol):
    """Has an id."""

    @property
    def id(self) -> int: ...


def id_of(cursor: Cursor) -> int | None:
    """Return the id that a cursor stands for; None before the first page."""
    return None if cursor is None else int(cursor)


def next_cursor(found: Sequence[Numbered], limit: int) -> str | None:
    """Return where the list goes on; None when the page was not full."""
    return str(found[-1].id) if len(found) == limit else None
