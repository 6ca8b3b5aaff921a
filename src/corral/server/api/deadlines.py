"""The deadlines of batches as answers: whether each will be met, from the estimates of the dispatcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from corral.operations.status import list_waiting
from corral.scheduling.deadlines import Verdict, judge
from corral.server.api.schemas import DeadlineOut
from corral.server.observing import LEAST_SLACK, estimate_open, find_zone
from corral.server.services import Services
from corral.tasks.store.deadlines import OpenDeadline, read_last_ends, read_open_deadlines
from corral.tasks.store.overview import read_open_work
from corral.tasks.values import Batch


async def find_deadlines(services: Services, batches: Sequence[Batch]) -> Mapping[int, DeadlineOut]:
    """Find out how those of the batches stand that have a deadline."""
    timed = [batch for batch in batches if isinstance(batch.by, datetime)]
    if not timed:
        return {}
    zone = find_zone(services.cluster)
    ended = [batch.id for batch in timed if batch.done]
    ends = await read_last_ends(services.pool, ended)
    answers = {batch.id: _describe_end(batch, ends.get(batch.id), zone) for batch in timed if batch.done}
    opened = await read_open_deadlines(services.pool, [batch.id for batch in timed if not batch.done])
    if opened:
        work = list_waiting(await read_open_work(services.pool))
        after_all = services.estimate(work).ends_at
        counts = {batch.id: batch.task_count for batch in timed}
        answers |= {id: describe_open(services, left, after_all, counts[id]) for id, left in opened.items()}
    return answers


def _describe_end(batch: Batch, ended_at: datetime | None, zone: str) -> DeadlineOut:
    assert isinstance(batch.by, datetime), "only batches with a deadline are described"
    is_met = ended_at is None or ended_at <= batch.by
    return DeadlineOut(
        verdict=Verdict.MET if is_met else Verdict.MISSED,
        ready_at=ended_at,
        ready_after_all=ended_at,
        latest_start=None,
        done_by=None,
        time_zone=zone,
    )


def describe_open(services: Services, left: OpenDeadline, after_all: datetime | None, tasks: int) -> DeadlineOut:
    """Judge whether what is left of a batch of so many tasks meets its deadline; `after_all` is when all is done."""
    now = datetime.now(UTC)
    deadline, done_slots = estimate_open(services, left, now)
    done = None
    if done_slots is not None and now < left.by:  # as much of the tasks as of the slots that they take
        slots = sum(work.count for work in left.waiting)
        share = done_slots / slots if slots else 1.0
        done = tasks - left.waiting_tasks + int(left.waiting_tasks * share)
    return DeadlineOut(
        verdict=judge(deadline, after_all, now, LEAST_SLACK),
        ready_at=deadline.ready_at,
        ready_after_all=after_all,
        latest_start=None if deadline.need is None else deadline.latest_start,
        done_by=done,
        time_zone=find_zone(services.cluster),
    )
