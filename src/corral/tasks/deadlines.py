"""Keeps the deadlines of batches: estimates anew what is left of each, and says when one cannot be met any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from corral.errors import Problem
from corral.scheduling.deadlines import LOOK_EVERY_S, Deadline
from corral.scheduling.judgement import Judgement
from corral.tasks.alarms import Alarms
from corral.tasks.picture import Picture
from corral.tasks.store.deadlines import OpenDeadline, note_missed, read_open_deadlines
from corral.tasks.store.pool import Pool
from corral.units import list_some

log = structlog.get_logger()

ALARM = "forecast_missed"
"""The name of the alarm, and the kind of the line in the story."""


class DeadlineKeeper:
    """Called by the dispatcher's loop alone."""

    def __init__(
        self, pool: Pool, picture: Picture, judgement: Judgement, alarms: Alarms, monotonic: Callable[[], float]
    ) -> None:
        self._pool = pool
        self._picture = picture
        self._judgement = judgement
        self._alarms = alarms
        self._monotonic = monotonic
        self._due = 0.0

    def look_soon(self) -> None:
        """Look again in the next round: a batch is new."""
        self._due = 0.0

    async def keep(self) -> None:
        """Estimate every deadline anew, where it is time for that."""
        if self._monotonic() < self._due:
            return
        self._due = self._monotonic() + LOOK_EVERY_S
        now = datetime.now(UTC)
        opened = await read_open_deadlines(self._pool)
        self._judgement.deadlines = {id: self._estimate(deadline, now) for id, deadline in opened.items()}
        missed = [deadline for id, deadline in opened.items() if self._is_missed(id, now)]
        for deadline in missed:
            if not deadline.is_noted:
                ready_at = self._judgement.deadlines[deadline.batch].ready_at
                log.warning("forecast_missed", batch=deadline.batch, by=str(deadline.by), ready_at=str(ready_at))
                await note_missed(self._pool, deadline, ready_at)
        self._alarms.show(ALARM, _describe(missed) if missed else None)

    def _estimate(self, deadline: OpenDeadline, now: datetime) -> Deadline:
        return self._judgement.estimate_deadline(
            deadline.by,
            deadline.waiting,
            self._picture.table,
            self._picture.queues,
            now,
            waits_for_cheap=deadline.waits_for_cheap,
        )

    def _is_missed(self, batch: int, now: datetime) -> bool:
        deadline = self._judgement.deadlines[batch]
        return now >= deadline.by or (deadline.ready_at is not None and deadline.ready_at > deadline.by)


def _describe(missed: list[OpenDeadline]) -> Problem:
    batches = list_some(f"{deadline.batch} ({deadline.name})" for deadline in missed)
    noun = "batch" if len(missed) == 1 else "batches"
    return Problem(
        code=ALARM,
        what=f"{noun} {batches} cannot be done by the deadline any more",
        hint=f"look at `corral batches show {missed[0].batch}`: cancel what matters less, or let it end later",
    )
