"""Reads how tasks ended, in the order in which they did, from a place in the story on."""

from __future__ import annotations

from dataclasses import dataclass

from corral.tasks.store.pool import Queries
from corral.tasks.store.story import horizon

MAX_ENDINGS = 20_000
"""Read in one go; a reader that is further behind catches up with its next calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one task ended."""

    event: int
    """The line of the story that says so."""
    engine: str
    outcome: str
    duration_s: float | None
    """Seconds since its last attempt started, for a task that succeeded."""


async def endings_after(pool: Queries, event: int) -> tuple[Ending, ...]:
    """Return at most `MAX_ENDINGS` endings after a line of the story; tasks that were collected since are left out."""
    rows = await pool.fetch(
        """
        select e.id, t.engine, t.state, extract(epoch from t.finished_at - t.started_at)::float8 as duration_s
        from events e join tasks t on t.id = e.task_id
        where e.id > $1 and e.id <= $3 and e.data->>'state' in ('succeeded', 'failed', 'cancelled')
        order by e.id limit $2
        """,
        event,
        MAX_ENDINGS,
        await horizon(pool),
    )
    return tuple(
        Ending(
            event=row["id"],
            engine=row["engine"],
            outcome=row["state"],
            duration_s=row["duration_s"] if row["state"] == "succeeded" else None,
        )
        for row in rows
    )
