"""Where the placement of a pod ends: at its selectors, at taints, at the number of GPUs or at GPUs in use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from corral.diagnosis.case import Case, count_gpus, count_node_gpus, get_pod_spec
from corral.diagnosis.matching import HOSTNAME, list_untolerated, matches_node
from corral.diagnosis.objects import get_labels, get_list, get_map
from corral.work import Json


class Obstacle(Enum):
    """The first condition that no node meets."""

    SELECTORS = auto()
    TAINTS = auto()
    TOO_FEW_GPUS = auto()
    GPUS_IN_USE = auto()
    OTHER = auto()
    """Memory, processors, volumes, claims, ports: a node has the GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """A pod that waits for the scheduler."""

    pod: Json
    gpus: int
    obstacle: Obstacle
    nodes: tuple[Json, ...]
    """Nodes that its selectors allow; for obstacles after taints, those whose taints it tolerates."""


def list_placings(case: Case, *obstacles: Obstacle) -> Iterator[Placing]:
    """List the pods that wait for the scheduler because of one of these obstacles."""
    for pod in case.pending:
        placing = judge_placing(case, pod)
        if placing.obstacle in obstacles:
            yield placing


def judge_placing(case: Case, pod: Json) -> Placing:
    """Judge why no node takes a pod."""
    spec = pod["spec"]
    gpus = count_gpus(spec)

    def make(obstacle: Obstacle, nodes: list[Json]) -> Placing:
        return Placing(pod=pod, gpus=gpus, obstacle=obstacle, nodes=tuple(nodes))

    allowed = [node for node in case.nodes if matches_node(spec, node)]
    if not allowed:
        return make(Obstacle.SELECTORS, allowed)
    tolerated = [node for node in allowed if not list_untolerated(spec, node)]
    if not tolerated:
        return make(Obstacle.TAINTS, allowed)
    if gpus and all(count_node_gpus(node) < gpus for node in tolerated):
        return make(Obstacle.TOO_FEW_GPUS, tolerated)
    if gpus and all(case.free_gpus[node["metadata"]["name"]] < gpus for node in tolerated):
        return make(Obstacle.GPUS_IN_USE, tolerated)
    return make(Obstacle.OTHER, tolerated)


def list_pinned_hosts(spec: Json) -> list[str]:
    """List the host names that a pod's specification asks for, as a selector or as required affinity."""
    hosts: list[str] = []
    host = get_map(spec, "nodeSelector").get(HOSTNAME)
    if host is not None:
        hosts.append(host)
    affinity = get_map(spec, "affinity", "nodeAffinity").get("requiredDuringSchedulingIgnoredDuringExecution")
    for term in get_list(affinity or {}, "nodeSelectorTerms"):
        for expression in get_list(term, "matchExpressions"):
            if expression["key"] == HOSTNAME and expression["operator"] == "In":
                hosts += expression["values"]
    return hosts


def list_holders(case: Case, nodes: tuple[Json, ...]) -> list[Json]:
    """List the pods that have the GPUs of nodes."""
    names = {node["metadata"]["name"] for node in nodes}
    return [pod for pod in case.pods if pod["spec"].get("nodeName") in names and count_gpus(pod["spec"])]


def count_wanted_gpus(case: Case, node: Json) -> int:
    """Count the GPUs that workloads which run always want on the node that they are pinned to."""
    host = (get_labels(node)).get(HOSTNAME)
    wanted = 0
    for workload in case.workloads:
        spec = get_pod_spec(workload)
        if workload["kind"] in ("Deployment", "StatefulSet") and list_pinned_hosts(spec) == [host]:
            wanted += count_gpus(spec) * workload["spec"].get("replicas", 1)
    return wanted


def name_workload(value: Json) -> str:
    """Name a workload in a sentence: `Deployment comfyui`."""
    return f"{value['kind']} {value['metadata']['name']}"
