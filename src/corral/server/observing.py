"""Looks at the parts of a running server, for its status."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from corral import __version__
from corral.operations.status import Alarm, Observed, measure_disk
from corral.scheduling.values import Gate
from corral.server.auth import Caller
from corral.server.services import Services
from corral.tasks.store.controls import Gated, find_gates
from corral.tasks.store.overview import measure_database, read_names, read_open_work
from corral.work import SlotId


async def observe(services: Services, caller: Caller) -> Observed:
    """Look at a server. Raises: what the database raises when it does not answer."""
    pool, places = services.pool, services.board.places
    running = [place.facts.running.task for place in places if place.facts.running is not None]
    gates = await find_gates(pool, Gated.SLOT)
    return Observed(
        name=services.cluster.name,
        version=__version__,
        started_at=services.started_at,
        owner=caller.owner,
        role=caller.role.value,
        leading=services.board.leading,
        trusts_loopback=services.trusts_loopback,
        data_dir=services.data_dir,
        database_bytes=await measure_database(pool),
        disk=await asyncio.to_thread(measure_disk, services.data_dir, reserve=services.cluster.server.disk_reserve),
        queues=list(services.cluster.queues),
        queue_gates=await find_gates(pool, Gated.QUEUE),
        slot_gates={SlotId(name): Gate(gate) for name, gate in gates.items()},
        work=await read_open_work(pool),
        places=places,
        now=datetime.now(UTC),
        names=await read_names(pool, running),
        progress=services.board.progress,
        alarms=[
            Alarm(code=alarm.name, what=alarm.what, hint=alarm.hint or "run `corral doctor`")
            for alarm in services.alarms.raised
        ],
    )
