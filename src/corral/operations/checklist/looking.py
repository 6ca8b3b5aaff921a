"""Evidence for the probes of a checklist: from Kubernetes, from the queue through its API, from GPUs.

What cannot be looked at is unknown, with the reason.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import assert_never
from urllib.parse import quote

from corral.errors import CorralError
from corral.kubernetes import (
    GPU_RESOURCE,
    Kubectl,
    count_claimable_gpus,
    find_gpu_loss,
    list_gpu_containers,
    observe_node,
    observe_replicas,
)
from corral.operations.checklist import gpu_looks
from corral.operations.checklist.machines import Machines
from corral.operations.checklist.values import Evidence, LoadTester, Queue, Shell, Status
from corral.planning.checklist import FromFile
from corral.planning.checklist.probes import (
    AllBusyAtOnce,
    ConfigurationRendered,
    DriverSuits,
    GpuPodsAlive,
    GpusDetected,
    LabelsOnNode,
    LimitsPersist,
    LoadTested,
    NodeReady,
    PersistenceOn,
    PowerLimitsSet,
    Probe,
    QueueEmpty,
    QueuePools,
    ReplicasReady,
    SlotsKnown,
    ThroughputReached,
)
from corral.telemetry.loadtest.verdict import Outcome
from corral.work import Json, SlotId, device_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What evidence is got with."""

    machines: Machines
    shell: Shell
    queue: Queue
    load_tester: LoadTester
    rendered: Path
    """The folder that `corral render` wrote to."""


def look(work: Probe | FromFile, tools: Tools) -> Evidence:
    """Get the evidence of an automatic item; what cannot be looked at is unknown, with the reason."""
    try:
        return _look(work, tools)
    except CorralError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return Evidence(status=Status.UNKNOWN, what=f"{error.what}{hint}")


def _look(work: Probe | FromFile, tools: Tools) -> Evidence:
    match work:
        case FromFile(evidence=evidence):
            return Evidence(status=Status.DONE, what=evidence)
        case GpusDetected() | DriverSuits() | PowerLimitsSet() | PersistenceOn() | LimitsPersist():
            return _look_at_gpus(work, tools.machines)
        case NodeReady() | LabelsOnNode() | GpuPodsAlive() | ReplicasReady():
            return _look_at_cluster(work, Kubectl(tools.shell))
        case LoadTested():
            return _load_test(work, tools)
        case ConfigurationRendered():
            return check_rendered(work, tools.rendered)
        case _:
            return _look_at_queue(work, tools.queue)


def _look_at_gpus(
    probe: GpusDetected | DriverSuits | PowerLimitsSet | PersistenceOn | LimitsPersist, machines: Machines
) -> Evidence:
    match probe:
        case GpusDetected():
            return gpu_looks.check_detected(probe, machines)
        case DriverSuits():
            return gpu_looks.check_driver(probe, machines)
        case PowerLimitsSet():
            return gpu_looks.check_limits_set(probe, machines)
        case PersistenceOn():
            return gpu_looks.check_persistence(probe, machines)
        case LimitsPersist():
            return gpu_looks.check_limits_persist(probe, machines)
        case _:
            assert_never(probe)


def _look_at_cluster(probe: NodeReady | LabelsOnNode | GpuPodsAlive | ReplicasReady, kubectl: Kubectl) -> Evidence:
    match probe:
        case NodeReady():
            return check_node_ready(probe, kubectl)
        case LabelsOnNode():
            return check_labels(probe, kubectl)
        case GpuPodsAlive():
            return check_gpu_pods(probe, kubectl)
        case ReplicasReady():
            return check_replicas(probe, kubectl)
        case _:
            assert_never(probe)


def _look_at_queue(
    probe: SlotsKnown | QueuePools | QueueEmpty | AllBusyAtOnce | ThroughputReached, queue: Queue
) -> Evidence:
    match probe:
        case SlotsKnown():
            return check_slots(probe, queue)
        case QueuePools():
            return check_pools(probe, queue)
        case QueueEmpty():
            return check_queue_empty(probe, queue)
        case AllBusyAtOnce():
            return check_all_busy(probe, queue)
        case ThroughputReached():
            return check_throughput(probe, queue)
        case _:
            assert_never(probe)


_OF_TEST = {
    Outcome.PASS: Status.DONE,
    Outcome.WARN: Status.DONE,
    Outcome.INCONCLUSIVE: Status.UNKNOWN,
    Outcome.FAIL: Status.FAILED,
}


def _load_test(probe: LoadTested, tools: Tools) -> Evidence:
    tools.machines.require_here(probe.node)
    test = tools.load_tester.test(probe.gpus, probe.seconds)
    facts = [f"load test: {test.outcome.value}"]
    for gpu in test.cards:
        hottest = "" if gpu.temperature_c is None else f", at most {gpu.temperature_c.most:.0f} °C"
        facts += [f"GPU {gpu.limits.gpu} {gpu.outcome.value}{hottest}"]
        facts += [remark.what for remark in gpu.remarks]
    return Evidence(status=_OF_TEST[test.outcome], what="; ".join([*facts, f"samples in {test.recording}"]))


def check_rendered(probe: ConfigurationRendered, folder: Path) -> Evidence:
    """Compare a rendered file with what it should be; its first line, which names the cluster file, does not count."""
    path = folder / probe.path
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = f"{path}: {error.strerror if isinstance(error, OSError) else error}; {_RENDER_FIRST}"
        return Evidence(status=Status.FAILED, what=what)
    differing = [line for line in difflib.ndiff(lines[1:], probe.text.splitlines()[1:]) if line.startswith(("-", "+"))]
    if differing:
        what = f"{path} differs in {len(differing)} lines, first: {differing[0]}; {_RENDER_FIRST}"
        return Evidence(status=Status.FAILED, what=what)
    return Evidence(status=Status.DONE, what=f"{path} is as the new cluster file has it")


_RENDER_FIRST = "run `corral render NEW --out FOLDER`, and the checklist in FOLDER"


def check_node_ready(probe: NodeReady, kubectl: Kubectl) -> Evidence:
    """See whether a node is back with all its GPUs. Raises: CorralError."""
    node = observe_node(kubectl, probe.node)
    gpus = count_claimable_gpus(kubectl, probe.node) if probe.by_claim else node.gpus
    closed = ", closed for pods" if node.is_closed else ""
    offered = "GPUs to claim" if probe.by_claim else f"allocatable {GPU_RESOURCE}"
    what = f"{'Ready' if node.is_ready else 'not Ready'}{closed}, {gpus} {offered}"
    good = node.is_ready and not node.is_closed and gpus == probe.gpus
    return Evidence(status=Status.DONE if good else Status.FAILED, what=what)


def check_labels(probe: LabelsOnNode, kubectl: Kubectl) -> Evidence:
    """Compare a node's labels. Raises: CorralError."""
    labels = observe_node(kubectl, probe.node).labels
    wrong = [
        f"{key} is {labels[key]!r}, wanted {value!r}" if key in labels else f"{key} is missing"
        for key, value in probe.labels
        if labels.get(key) != value
    ]
    wrong += [f"{key}={labels[key]} is still there" for key in probe.gone if key in labels]
    if wrong:
        return Evidence(status=Status.FAILED, what="; ".join(wrong))
    return Evidence(status=Status.DONE, what=f"{len(probe.labels)} labels as in the file, {len(probe.gone)} gone")


def check_gpu_pods(probe: GpuPodsAlive, kubectl: Kubectl) -> Evidence:
    """Ask for the GPUs inside of every container that has one. Raises: CorralError."""
    containers = list_gpu_containers(kubectl, probe.node)
    broken = [
        f"{container.namespace}/{container.pod}: {why}"
        for container in containers
        if (why := find_gpu_loss(kubectl, container))
    ]
    if broken:
        return Evidence(status=Status.FAILED, what="; ".join(broken))
    return Evidence(status=Status.DONE, what=f"{len(containers)} of {len(containers)} containers with a GPU reach it")


def check_replicas(probe: ReplicasReady, kubectl: Kubectl) -> Evidence:
    """Count replicas. Raises: CorralError."""
    replicas = observe_replicas(kubectl, probe.kind, probe.name, probe.namespace)
    good = replicas.ready == replicas.existing == probe.replicas
    what = f"{replicas.ready} of {replicas.existing} replicas ready, {probe.replicas} wanted"
    return Evidence(status=Status.DONE if good else Status.FAILED, what=what)


_TASKS = 20
"""Finished tasks that a slot's speed is taken from: enough to even out a slow one, few enough to be of today."""
_CLOSE = 0.9
"""Share of the forecast that counts as reached; loads and swaps of models take the rest."""


def check_slots(probe: SlotsKnown, queue: Queue) -> Evidence:
    """Compare the server's slots. Raises: UnlookedError."""
    have = {device_of(SlotId(slot["id"])) for slot in queue.get("/corral/v1/slots")["items"]}
    wrong = [f"{slot} is missing" for slot in probe.slots if slot not in have]
    wrong += [f"{slot} is still there" for slot in probe.gone if slot in have]
    if wrong:
        return Evidence(status=Status.FAILED, what="; ".join(wrong))
    return Evidence(status=Status.DONE, what=f"the server has {', '.join(sorted(have))}")


def check_pools(probe: QueuePools, queue: Queue) -> Evidence:
    """Compare the server's queues. Raises: UnlookedError."""
    have = {entry["name"]: entry["pool"] for entry in queue.get("/corral/v1/queues")["items"]}
    wrong = [
        f"{name} has {_format_pool(have[name])}" if name in have else f"{name} is missing"
        for name, pool in probe.pools
        if name not in have or have[name] != (None if pool is None else list(pool))
    ]
    if wrong:
        return Evidence(status=Status.FAILED, what="; ".join(wrong))
    facts = [f"{name} on {_format_pool(have[name])}" for name, _ in probe.pools]
    return Evidence(status=Status.DONE, what="; ".join(facts))


def check_queue_empty(probe: QueueEmpty, queue: Queue) -> Evidence:
    """Count what a queue still holds. Raises: UnlookedError."""
    entry = next((entry for entry in queue.get("/corral/v1/queues")["items"] if entry["name"] == probe.queue), None)
    if entry is None:
        return Evidence(status=Status.DONE, what="the server has no such queue")
    states = {state: count for state, count in entry["states"].items() if count}
    if states:
        what = ", ".join(f"{count} {state}" for state, count in states.items())
        return Evidence(status=Status.FAILED, what=f"it holds {what}")
    return Evidence(status=Status.DONE, what="it holds no task")


def check_all_busy(probe: AllBusyAtOnce, queue: Queue) -> Evidence:
    """Look at what runs now. Raises: UnlookedError."""
    slots = queue.get("/corral/v1/slots")["items"]
    running: dict[str, Json] = {device_of(SlotId(slot["id"])): slot["running"] for slot in slots if slot["running"]}
    busy = [slot for slot in probe.slots if running.get(slot)]
    if len(busy) == len(probe.slots):
        tasks = ", ".join(f"{slot} runs task {running[slot]['task']}" for slot in busy)
        return Evidence(status=Status.DONE, what=tasks)
    idle = ", ".join(slot for slot in probe.slots if slot not in busy)
    return Evidence(status=Status.FAILED, what=f"nothing runs on {idle} in this moment")


def check_throughput(probe: ThroughputReached, queue: Queue) -> Evidence:
    """Compare what the slots did lately with the forecast. Raises: UnlookedError."""
    means = {slot: _measure_seconds(queue, probe.engine, slot) for slot in probe.slots}
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


def _measure_seconds(queue: Queue, engine: str, slot: str) -> float | None:
    """Take the mean time of a device's last tasks; None when there are none."""
    query = f"state=succeeded&engine={quote(engine)}&slot={quote(slot, safe='')}&limit={_TASKS}"
    times = [
        _seconds(task) for task in queue.get(f"/corral/v1/tasks?{query}")["items"] if _list_devices(task) == [slot]
    ]
    return fmean(times) if times else None


def _list_devices(task: Json) -> list[str]:
    return [device_of(SlotId(slot)) for slot in task["slots"]]


def _seconds(task: Json) -> float:
    return (datetime.fromisoformat(task["finished_at"]) - datetime.fromisoformat(task["started_at"])).total_seconds()


def _format_pool(pool: list[str] | None) -> str:
    return "every slot" if pool is None else ", ".join(pool) or "no slot"
