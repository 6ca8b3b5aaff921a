"""Finds running tasks that somebody asked to cancel, for a dispatcher that may have missed the line of the story."""

from __future__ import annotations

from collections.abc import Iterable

from corral.tasks.store.pool import Queries


async def to_be_cancelled(pool: Queries, tasks: Iterable[int]) -> tuple[int, ...]:
    """Return those of the tasks whose attempt is to be stopped."""
    rows = await pool.fetch(
        "select id from tasks where id = any($1::bigint[]) and cancel_requested and finished_at is null", list(tasks)
    )
    return tuple(row["id"] for row in rows)
