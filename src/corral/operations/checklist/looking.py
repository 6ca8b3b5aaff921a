"""Sends each probe to who can see its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from corral.errors import CorralError
from corral.operations.checklist import card_looks, cluster_looks, queue_looks
from corral.operations.checklist.machines import Machines
from corral.operations.checklist.values import Evidence, LoadTester, Queue, Shell, Status
from corral.planning.checklist import FromFile
from corral.planning.checklist.probes import (
    AllBusyAtOnce,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What evidence is got with."""

    machines: Machines
    shell: Shell
    queue: Queue
    load_tester: LoadTester


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
            return _of_cards(work, tools.machines)
        case NodeReady() | LabelsOnNode() | GpuPodsAlive() | ReplicasReady():
            return _of_cluster(work, tools.shell)
        case LoadTested():
            return _load_test(work, tools)
        case _:
            return _of_queue(work, tools.queue)


def _of_cards(
    probe: GpusDetected | DriverSuits | PowerLimitsSet | PersistenceOn | LimitsPersist, machines: Machines
) -> Evidence:
    match probe:
        case GpusDetected():
            return card_looks.cards_detected(probe, machines)
        case DriverSuits():
            return card_looks.driver_suits(probe, machines)
        case PowerLimitsSet():
            return card_looks.power_limits_set(probe, machines)
        case PersistenceOn():
            return card_looks.persistence_on(probe, machines)
        case LimitsPersist():
            return card_looks.limits_persist(probe, machines)
        case _:
            assert_never(probe)


def _of_cluster(probe: NodeReady | LabelsOnNode | GpuPodsAlive | ReplicasReady, shell: Shell) -> Evidence:
    match probe:
        case NodeReady():
            return cluster_looks.node_ready(probe, shell)
        case LabelsOnNode():
            return cluster_looks.labels_on_node(probe, shell)
        case GpuPodsAlive():
            return cluster_looks.gpu_pods_alive(probe, shell)
        case ReplicasReady():
            return cluster_looks.replicas_ready(probe, shell)
        case _:
            assert_never(probe)


def _of_queue(
    probe: SlotsKnown | QueuePools | QueueEmpty | AllBusyAtOnce | ThroughputReached, queue: Queue
) -> Evidence:
    match probe:
        case SlotsKnown():
            return queue_looks.slots_known(probe, queue)
        case QueuePools():
            return queue_looks.queue_pools(probe, queue)
        case QueueEmpty():
            return queue_looks.queue_empty(probe, queue)
        case AllBusyAtOnce():
            return queue_looks.all_busy(probe, queue)
        case ThroughputReached():
            return queue_looks.throughput_reached(probe, queue)
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
