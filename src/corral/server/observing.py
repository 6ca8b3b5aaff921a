"""Looks at the parts of a running server, for its status."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from corral import __version__
from corral.cluster.values import Cluster
from corral.hours import find_machine_zone
from corral.operations.status import Alarm, DeadlineStatus, Observed, list_waiting, measure_disk
from corral.scheduling.deadlines import Deadline, judge
from corral.scheduling.values import Gate, PolicyBounds, is_guest
from corral.server.auth import Caller
from corral.server.services import Services
from corral.tasks.store.controls import Gated, find_gates
from corral.tasks.store.deadlines import OpenDeadline, read_open_deadlines
from corral.tasks.store.overview import OpenWork, measure_database, read_names, read_open_work
from corral.work import SlotId

LEAST_SLACK = PolicyBounds().deadline_slack
"""Of a deadline that is not tight."""


def find_zone(cluster: Cluster) -> str:
    """Find the zone in which times of the clock are meant."""
    return cluster.time_zone or find_machine_zone()


async def observe(services: Services, caller: Caller) -> Observed:
    """Look at a server. Raises: what the database raises when it does not answer."""
    pool, places = services.pool, services.board.places
    running = [running.task for place in places for running in place.facts.running if not is_guest(running.task)]
    gates = await find_gates(pool, Gated.SLOT)
    now, work = datetime.now(UTC), await read_open_work(pool)
    return Observed(
        name=services.cluster.name,
        version=__version__,
        started_at=services.started_at,
        owner=caller.owner,
        role=caller.role.value,
        leading=services.board.leading,
        trusts_loopback=services.trusts_loopback,
        listeners=services.listeners.describe(),
        data_dir=services.data_dir,
        database_bytes=await measure_database(pool),
        disk=await asyncio.to_thread(measure_disk, services.data_dir, reserve=services.cluster.server.disk_reserve),
        queues=list(services.cluster.queues),
        queue_gates=await find_gates(pool, Gated.QUEUE),
        slot_gates={SlotId(name): Gate(gate) for name, gate in gates.items()},
        work=work,
        places=places,
        now=now,
        names=await read_names(pool, running),
        progress=services.board.progress,
        deadlines=await _observe_deadlines(services, work, now),
        alarms=[
            Alarm(code=alarm.name, what=alarm.what, hint=alarm.hint or "run `corral doctor`")
            for alarm in services.alarms.raised
        ],
    )


def estimate_open(services: Services, left: OpenDeadline, now: datetime) -> tuple[Deadline, int | None]:
    """Estimate when what is left of a batch would be done, and how many of its slots by the deadline."""
    alone = services.estimate(left.waiting, by=left.by)
    ready_at = alone.ends_at if left.waiting else now
    return Deadline(by=left.by, seen_at=now, ready_at=ready_at), alone.done_by


async def _observe_deadlines(services: Services, work: Sequence[OpenWork], now: datetime) -> list[DeadlineStatus]:
    """Look at the batches with a deadline, and judge whether each will be in time."""
    opened = (await read_open_deadlines(services.pool)).values()
    after_all = services.estimate(list_waiting(work)).ends_at if opened else None
    deadlines: list[DeadlineStatus] = []
    for left in opened:
        deadline, _ = estimate_open(services, left, now)
        deadlines.append(
            DeadlineStatus(
                batch=left.batch,
                name=left.name,
                owner=left.owner,
                by=left.by,
                time_zone=find_zone(services.cluster),
                verdict=judge(deadline, after_all, now, LEAST_SLACK),
                open=left.tasks,
            )
        )
    return deadlines
