"""Finds the tasks of a batch that have not ended."""

from __future__ import annotations

from corral.tasks.store.pool import Queries


async def open_tasks_of(pool: Queries, batch: int) -> tuple[int, ...]:
    """Return their ids, those first that others need: cancelling in this order settles each task once."""
    rows = await pool.fetch(
        "select id from tasks where batch_id = $1 and state in ('waiting', 'queued', 'leased', 'running') order by id",
        batch,
    )
    return tuple(row["id"] for row in rows)
