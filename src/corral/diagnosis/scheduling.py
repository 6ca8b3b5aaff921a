"""Pods that the scheduler cannot place, or that it removed for others."""

from __future__ import annotations

from collections.abc import Iterator

from corral.diagnosis.case import (
    Case,
    find_condition,
    get_pod_spec,
    list_containers,
    show_field,
    show_scheduling,
)
from corral.diagnosis.matching import HOSTNAME, list_untolerated, matches_labels, parse_quantity
from corral.diagnosis.objects import get_labels, get_list, get_map, get_text
from corral.diagnosis.placing import (
    Obstacle,
    list_pinned_hosts,
    list_placings,
    name_workload,
)
from corral.diagnosis.registry import diagnoses, make_pitfall
from corral.diagnosis.values import Evidence, Symptom
from corral.snapshot import Kind, ObjectKey
from corral.units import format_bytes
from corral.work import Json

_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_PRODUCT = "nvidia.com/gpu.product"
_POD_AND_NODE = ("Pod", "Node")
_OF_NODES = "node.kubernetes.io/"
"""Taints that say how a node is; other diagnoses are about them."""


@diagnoses("A01", evidence="Pod: PodScheduled, spec.affinity.podAffinity topology keys; labels of Nodes")
def find_unknown_topology(case: Case) -> Iterator[Symptom]:
    """Look for pods that wait for an affinity over a key that no node has as a label."""
    known = {key for node in case.nodes for key in get_labels(node)}
    for pod in case.pending:
        affinity = get_map(pod["spec"], "affinity", "podAffinity")
        for term in get_list(affinity, "requiredDuringSchedulingIgnoredDuringExecution"):
            key = term["topologyKey"]
            if key not in known:
                yield Symptom(
                    subject=ObjectKey.read(pod),
                    cause=f"its affinity is over {key!r}, which is not a label of any node",
                    evidence=(
                        show_field(pod, "spec.affinity.podAffinity", f"topologyKey {key}"),
                        show_scheduling(pod),
                    ),
                    fix=f"use `topologyKey: {HOSTNAME}` for pods of one node; each pod gets a GPU of its own anyway",
                )


@diagnoses("A19", evidence="Pod: PodScheduled, spec.tolerations; Node: spec.taints", reads=_POD_AND_NODE)
def find_missing_tolerations(case: Case) -> Iterator[Symptom]:
    """Look for pods that all nodes of their choice keep away by a taint."""
    for placing in list_placings(case, Obstacle.TAINTS):
        taints = [
            (node, taint)
            for node in placing.nodes
            for taint in list_untolerated(placing.pod["spec"], node)
            if not taint["key"].startswith(_OF_NODES)
        ]
        if not taints:
            continue
        shown = tuple(
            show_field(node, "spec.taints", f"{taint['key']}={taint.get('value', '')}:{taint['effect']}")
            for node, taint in taints[:3]
        )
        _, taint = taints[0]
        yield Symptom(
            subject=ObjectKey.read(placing.pod),
            cause=f"it does not tolerate the taint {taint['key']} of {_name_nodes([node for node, _ in taints])}",
            evidence=(show_scheduling(placing.pod), *shown),
            fix=f"add `tolerations: [{{key: {taint['key']}, operator: Exists, effect: {taint['effect']}}}]` to "
            f"{name_workload(case.find_workload(placing.pod))}",
        )


def _name_nodes(nodes: list[Json]) -> str:
    names = list(dict.fromkeys(node["metadata"]["name"] for node in nodes))
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


@diagnoses(
    "A20",
    evidence="Pod: PodScheduled, host pins; Node: metadata.labels[kubernetes.io/hostname]",
    reads=_POD_AND_NODE,
)
def find_unknown_hosts(case: Case) -> Iterator[Symptom]:
    """Look for pods that are pinned to a host that no node has."""
    known = {(get_labels(node)).get(HOSTNAME): node for node in case.nodes}
    for placing in list_placings(case, Obstacle.SELECTORS):
        hosts = list_pinned_hosts(placing.pod["spec"])
        if hosts and known and not any(host in known for host in hosts):
            yield Symptom(
                subject=ObjectKey.read(placing.pod),
                cause=f"it is pinned to the host {hosts[0]!r}, and the nodes are {', '.join(sorted(map(str, known)))}",
                evidence=(
                    show_field(placing.pod, "spec.nodeSelector", f"{HOSTNAME}: {', '.join(hosts)}"),
                    show_scheduling(placing.pod),
                    *(show_field(node, f"metadata.labels[{HOSTNAME}]", str(name)) for name, node in known.items()),
                ),
                fix=f"pin {name_workload(case.find_workload(placing.pod))} to a host name of "
                "`kubectl get nodes -L kubernetes.io/hostname`",
            )


@diagnoses(
    make_pitfall("K01", "selector-matches-no-node", "a node selector that no node's labels match"),
    evidence="Pod: PodScheduled, spec.nodeSelector, node affinity; labels of Nodes",
    reads=_POD_AND_NODE,
)
def find_unmatched_selectors(case: Case) -> Iterator[Symptom]:
    """Look for pods whose selector has a label that no node has with this value."""
    for placing in list_placings(case, Obstacle.SELECTORS):
        selector: dict[str, str] = get_map(placing.pod["spec"], "nodeSelector")
        labels: list[dict[str, str]] = [get_labels(node) for node in case.nodes]
        absent = [key for key, value in selector.items() if all(entry.get(key) != value for entry in labels)]
        if absent == [HOSTNAME] or list_pinned_hosts(placing.pod["spec"]) or absent == [_PRODUCT]:
            continue
        key = absent[0] if absent else next(iter(selector), "")
        values = sorted({entry[key] for entry in labels if key in entry})
        cause = (
            f"it selects {key}={selector[key]}, and nodes have {', '.join(values) if values else 'no such label'}"
            if absent
            else "no node has all the labels that it selects"
        )
        yield Symptom(
            subject=ObjectKey.read(placing.pod),
            cause=cause,
            evidence=(show_field(placing.pod, "spec.nodeSelector", selector), show_scheduling(placing.pod)),
            fix=f"kubectl label node NAME {key}={selector[key]} --overwrite, for the nodes that are meant"
            if key
            else "change the node affinity to labels of `kubectl get nodes --show-labels`",
        )


@diagnoses(
    "A23",
    evidence="event Preempted; Pod: DisruptionTarget; spec.priorityClassName of the removed pod",
    reads=("Pod", "Event"),
)
def find_preempted_pods(case: Case) -> Iterator[Symptom]:
    """Look for serving pods without a priority that the scheduler removed for another pod."""
    for event in case.snapshot.list("Event"):
        if event.get("reason") != "Preempted" or event["involvedObject"].get("kind") != "Pod":
            continue
        named = event["involvedObject"]
        workload = _find_workload_of(case, named["namespace"], named["name"])
        if workload is None or get_pod_spec(workload).get("priorityClassName"):
            continue
        subject = ObjectKey(Kind("", "Pod"), named["namespace"], named["name"])
        text = " ".join(event["message"].split())
        yield Symptom(
            subject=subject,
            cause=f"the scheduler removed it for a pod of a higher priority, since {name_workload(workload)} has none",
            evidence=(
                Evidence(object=subject, place="event Preempted", value=text),
                show_field(workload, "spec.template.spec.priorityClassName"),
            ),
            fix=f"give {name_workload(workload)} a PriorityClass above that of batch work",
        )


def _find_workload_of(case: Case, namespace: str, pod: str) -> Json | None:
    """Find the workload of a pod that might be gone, else by the start of its name; bare pods have none."""
    value = case.snapshot.find("Pod", pod, namespace)
    if value is not None:
        workload = case.find_workload(value)
        return None if workload["kind"] in ("Job", "CronJob", "Pod") else workload
    served = ("Deployment", "StatefulSet")
    named = [
        workload
        for workload in case.workloads
        if workload["kind"] in served
        and workload["metadata"]["namespace"] == namespace
        and pod.startswith(f"{workload['metadata']['name']}-")
    ]
    return max(named, key=lambda workload: len(workload["metadata"]["name"]), default=None)


@diagnoses(
    "A24",
    evidence="Node: spec.unschedulable; PodDisruptionBudget: status.disruptionsAllowed of Pods there",
    reads=("Pod", "Node", "PodDisruptionBudget"),
)
def find_blocked_drains(case: Case) -> Iterator[Symptom]:
    """Look for nodes that are being drained, with pods that their budget does not let go."""
    closed = [node for node in case.nodes if node["spec"].get("unschedulable")]
    for budget in case.snapshot.list("PodDisruptionBudget") if closed else ():
        if get_map(budget, "status").get("disruptionsAllowed", 1) or not budget["spec"].get("selector"):
            continue
        for node in closed:
            for pod in case.list_pods_on(node["metadata"]["name"]):
                metadata = pod["metadata"]
                if metadata["namespace"] == budget["metadata"]["namespace"] and matches_labels(
                    budget["spec"]["selector"], get_map(metadata, "labels")
                ):
                    yield Symptom(
                        subject=ObjectKey.read(budget),
                        cause=f"it lets no pod go, so a drain of {node['metadata']['name']} waits for "
                        f"{metadata['name']} for ever",
                        evidence=(
                            show_field(budget, "status.disruptionsAllowed"),
                            show_field(node, "spec.unschedulable"),
                            show_field(pod, "spec.nodeName"),
                        ),
                        fix="set `maxUnavailable: 1` instead of `minAvailable`, or add a replica first",
                    )


@diagnoses(
    "A25",
    evidence="Pod: memory limits, summed for each Node; Node: status.allocatable.memory",
    reads=_POD_AND_NODE,
)
def find_overcommitted_memory(case: Case) -> Iterator[Symptom]:
    """Look for nodes whose pods can use more memory together than the node has."""
    for node in case.nodes:
        allocatable = parse_quantity(get_map(node, "status", "allocatable").get("memory"))
        limits = [(pod, _sum_limits(pod["spec"])) for pod in case.list_pods_on(node["metadata"]["name"])]
        total = sum(limit for _, limit in limits)
        if not allocatable or total <= allocatable:
            continue
        largest = sorted(limits, key=lambda entry: -entry[1])[:3]
        yield Symptom(
            subject=ObjectKey.read(node),
            cause=f"its pods can use {format_bytes(round(total))} together, and it has "
            f"{format_bytes(round(allocatable))}: the kernel ends one of them when they do",
            evidence=(
                show_field(node, "status.allocatable.memory"),
                *(show_field(pod, "memory limits", format_bytes(round(limit))) for pod, limit in largest if limit),
            ),
            fix="lower the memory limits of its pods to what they use, or move one of them to another node",
        )


def _sum_limits(spec: Json) -> float:
    return sum(
        parse_quantity(get_map(container, "resources", "limits").get("memory"))
        for container in get_list(spec, "containers")
    )


@diagnoses(
    make_pitfall("K03", "node-too-small", "a pod that asks for more memory or processor than is free on any node"),
    evidence="Pod: PodScheduled (Insufficient memory, cpu, ephemeral-storage)",
    reads=_POD_AND_NODE,
)
def find_starved_pods(case: Case) -> Iterator[Symptom]:
    """Look for pods that no node has enough memory, processor or disk for."""
    for placing in list_placings(case, Obstacle.OTHER):
        condition = find_condition(placing.pod, "PodScheduled", "False")
        message = get_text(condition or {}, "message")
        short = [name for name in ("memory", "cpu", "ephemeral-storage") if f"Insufficient {name}" in message]
        if short:
            requests = ", ".join(
                f"{container['name']}: {(container.get('resources') or {}).get('requests', {}).get(short[0], 'none')}"
                for container in list_containers(placing.pod["spec"])
            )
            yield Symptom(
                subject=ObjectKey.read(placing.pod),
                cause=f"no node has as much {short[0]} free as it asks for",
                evidence=(show_scheduling(placing.pod), show_field(placing.pod, f"requests of {short[0]}", requests)),
                fix=f"lower the requests of {short[0]}, or free a node: `kubectl describe nodes` lists all requests",
            )
