"""Queues: their rules, what waits in them, and their gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from corral.cluster.values import QueueSettings
from corral.errors import CorralError, Kind, did_you_mean
from corral.scheduling.values import Gate
from corral.server.api.auditing import describe_act
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Word
from corral.server.api.routing import make_router
from corral.server.api.schemas import QueueLimits, QueueOut, Queues
from corral.server.api.state import Admin, ApiState, Here, Viewer
from corral.server.auth import Caller
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.audit import Action
from corral.tasks.store.controls import Gated, find_gates, set_gate
from corral.tasks.store.reading import count_states

router = make_router("queues", prefix="/corral/v1/queues")


class QueueMissingError(CorralError):
    """The cluster file has no such queue."""

    code: ClassVar[str] = "queue.missing"
    kind: ClassVar[Kind] = Kind.MISSING


@router.get("", summary="List queues", responses=declare_refusals())
async def list_queues(api: Here, caller: Viewer) -> Queues:
    """List the queues of the cluster file and what waits in them."""
    return Queues(items=await _describe_queues(api))


@router.post("/{name}/pause", summary="Pause a queue", responses=declare_refusals(404))
async def pause_queue(name: Word, api: Here, caller: Admin) -> QueueOut:
    """Start nothing from a queue until it is resumed; it still takes tasks."""
    return await _set(api, caller, name, Gate.PAUSED)


@router.post("/{name}/resume", summary="Resume a queue", responses=declare_refusals(404))
async def resume_queue(name: Word, api: Here, caller: Admin) -> QueueOut:
    """Let a queue take and start tasks again."""
    return await _set(api, caller, name, Gate.OPEN)


@router.post("/{name}/drain", summary="Drain a queue", responses=declare_refusals(404))
async def drain_queue(name: Word, api: Here, caller: Admin) -> QueueOut:
    """Empty a queue: what is in it still runs, new tasks are refused until it is resumed."""
    return await _set(api, caller, name, Gate.DRAINING)


async def _describe_queues(api: ApiState) -> list[QueueOut]:
    pool = api.services.pool
    gated, counts = await find_gates(pool, Gated.QUEUE), await count_states(pool)
    return [
        _describe_queue(queue, gated, counts.get(name, {}))
        for name, queue in sorted(api.services.cluster.queues.items())
    ]


def _describe_queue(queue: QueueSettings, gated: Mapping[str, Gate], states: Mapping[TaskState, int]) -> QueueOut:
    return QueueOut(
        name=queue.name,
        order=queue.order.value,
        pool=None if queue.pool is None else list(queue.pool),
        gate=gated.get(queue.name, Gate.OPEN),
        limits=QueueLimits(running_per_owner=queue.max_running_per_owner, queued_per_owner=queue.max_queued_per_owner),
        states=dict(states),
    )


async def _set(api: ApiState, caller: Caller, name: str, gate: Gate) -> QueueOut:
    known = api.services.cluster.queues
    if name not in known:
        raise QueueMissingError(f"there is no queue {name!r}", hint=did_you_mean(name, known))
    act = describe_act(caller, Action.QUEUE_GATE_SET, name, gate=gate.value)
    await set_gate(api.services.pool, Gated.QUEUE, name, gate, act=act)
    return next(queue for queue in await _describe_queues(api) if queue.name == name)
