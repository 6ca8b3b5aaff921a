"""Evidence from Corral's own server: slots, queues, what runs, and how fast."""

from __future__ import annotations

from datetime import datetime
from statistics import fmean
from urllib.parse import quote

from corral.operations.checklist.values import Evidence, Queue, Status
from corral.planning.checklist.probes import AllBusyAtOnce, QueueEmpty, QueuePools, SlotsKnown, ThroughputReached
from corral.work import Json

_TASKS = 20
"""Finished tasks that a slot's speed is taken from: enough to even out a slow one, few enough to be of today."""
_CLOSE = 0.9
"""Share of the forecast that counts as reached; loads and swaps of models take the rest."""


def slots_known(probe: SlotsKnown, queue: Queue) -> Evidence:
    """Compare the server's slots. Raises: UnlookedError."""
    have = {slot["id"] for slot in queue.get("/corral/v1/slots")["items"]}
    wrong = [f"{slot} is missing" for slot in probe.slots if slot not in have]
    wrong += [f"{slot} is still there" for slot in probe.gone if slot in have]
    if wrong:
        return Evidence(status=Status.FAILED, what="; ".join(wrong))
    return Evidence(status=Status.DONE, what=f"the server has {', '.join(sorted(have))}")


def queue_pools(probe: QueuePools, queue: Queue) -> Evidence:
    """Compare the server's queues. Raises: UnlookedError."""
    have = {one["name"]: one["pool"] for one in queue.get("/corral/v1/queues")["items"]}
    wrong = [
        f"{name} has {_pool(have[name])}" if name in have else f"{name} is missing"
        for name, pool in probe.pools
        if name not in have or have[name] != (None if pool is None else list(pool))
    ]
    if wrong:
        return Evidence(status=Status.FAILED, what="; ".join(wrong))
    facts = [f"{name} on {_pool(have[name])}" for name, _ in probe.pools]
    return Evidence(status=Status.DONE, what="; ".join(facts))


def queue_empty(probe: QueueEmpty, queue: Queue) -> Evidence:
    """Count what a queue still holds. Raises: UnlookedError."""
    one = next((one for one in queue.get("/corral/v1/queues")["items"] if one["name"] == probe.queue), None)
    if one is None:
        return Evidence(status=Status.DONE, what="the server has no such queue")
    states = {state: count for state, count in one["states"].items() if count}
    if states:
        what = ", ".join(f"{count} {state}" for state, count in states.items())
        return Evidence(status=Status.FAILED, what=f"it holds {what}")
    return Evidence(status=Status.DONE, what="it holds no task")


def all_busy(probe: AllBusyAtOnce, queue: Queue) -> Evidence:
    """Look at what runs now. Raises: UnlookedError."""
    running = {slot["id"]: slot["running"] for slot in queue.get("/corral/v1/slots")["items"]}
    busy = [slot for slot in probe.slots if running.get(slot)]
    if len(busy) == len(probe.slots):
        tasks = ", ".join(f"{slot} runs task {running[slot]['task']}" for slot in busy)
        return Evidence(status=Status.DONE, what=tasks)
    idle = ", ".join(slot for slot in probe.slots if slot not in busy)
    return Evidence(status=Status.FAILED, what=f"nothing runs on {idle} in this moment")


def throughput_reached(probe: ThroughputReached, queue: Queue) -> Evidence:
    """Compare what the slots did lately with the forecast. Raises: UnlookedError."""
    means = {slot: _mean_seconds(queue, probe.engine, slot) for slot in probe.slots}
    missing = [slot for slot, mean in means.items() if not mean]
    if missing:
        what = f"no {probe.engine} task has succeeded on {', '.join(missing)} yet"
        return Evidence(status=Status.UNKNOWN, what=what)
    rate = sum(3600 / mean for mean in means.values() if mean)
    share = rate / probe.per_hour.value
    what = f"{rate:,.0f} {probe.unit}s an hour, {share:.0%} of {probe.per_hour.value:,.0f} (" + ", ".join(
        f"{slot}: {mean:.1f} s each" for slot, mean in means.items()
    )
    return Evidence(status=Status.DONE if share >= _CLOSE else Status.FAILED, what=what + ")")


def _mean_seconds(queue: Queue, engine: str, slot: str) -> float | None:
    """Take the mean time of a slot's last tasks; None when there are none."""
    query = f"state=succeeded&engine={quote(engine)}&slot={quote(slot, safe='')}&limit={_TASKS}"
    times = [_seconds(task) for task in queue.get(f"/corral/v1/tasks?{query}")["items"] if task["slots"] == [slot]]
    return fmean(times) if times else None


def _seconds(task: Json) -> float:
    return (datetime.fromisoformat(task["finished_at"]) - datetime.fromisoformat(task["started_at"])).total_seconds()


def _pool(pool: list[str] | None) -> str:
    return "every slot" if pool is None else ", ".join(pool) or "no slot"
