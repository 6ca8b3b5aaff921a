"""Nodes that are not ready, that are full, or that differ from the cluster file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.cluster.values import Cluster, Node
from corral.diagnosis.case import Case, find_condition, show_condition, show_event, show_field, show_scheduling
from corral.diagnosis.matching import matches_node
from corral.diagnosis.objects import get_map
from corral.diagnosis.registry import diagnoses, make_pitfall
from corral.diagnosis.values import Evidence, Symptom
from corral.linting.values import Severity
from corral.rendering.nodes import make_node_labels
from corral.snapshot import Kind, ObjectKey
from corral.work import Json

_PRESSURE = ("DiskPressure", "MemoryPressure", "PIDPressure")
_OF_OTHERS = re.compile(r"(?:.+\.)?(?:kubernetes|k8s|k3s|nvidia)\.(?:io|com)/")
"""Labels that Kubernetes, K3s and NVIDIA's programs set."""


@diagnoses(
    make_pitfall("K21", "node-not-ready", "a node whose kubelet does not report, or reports that it is not ready"),
    evidence="Node: Ready",
    reads=("Node",),
)
def find_unready_nodes(case: Case) -> Iterator[Symptom]:
    """Look for nodes that are not ready."""
    for node in case.nodes:
        condition = find_condition(node, "Ready", "False") or find_condition(node, "Ready", "Unknown")
        if condition is not None:
            name, is_silent = node["metadata"]["name"], condition["status"] == "Unknown"
            yield Symptom(
                subject=ObjectKey.read(node),
                cause="it does not report any more" if is_silent else "its kubelet reports that it is not ready",
                evidence=(
                    show_condition(node, condition),
                    show_field(node, "status.conditions[Ready].lastHeartbeatTime", condition.get("lastHeartbeatTime")),
                ),
                fix=f"on {name}: `systemctl status k3s k3s-agent` and `journalctl -u k3s-agent -e`",
            )


@diagnoses(
    make_pitfall("K22", "node-disk-full", "a node whose disk is too full for images and logs"),
    evidence="Node: DiskPressure; events ImageGCFailed, FreeDiskSpaceFailed, EvictionThresholdMet; Pods evicted",
    reads=("Node", "Event"),
    source="https://github.com/k3d-io/k3d/issues/130",
)
def find_full_nodes(case: Case) -> Iterator[Symptom]:
    """Look for nodes that remove images and pods to have disk left."""
    for node in case.nodes:
        name = node["metadata"]["name"]
        conditions = [condition for type in _PRESSURE if (condition := find_condition(node, type))]
        events = [
            event
            for event in case.snapshot.list("Event")
            if event["involvedObject"].get("kind") == "Node"
            and event["involvedObject"].get("name") == name
            and event.get("reason") in ("ImageGCFailed", "FreeDiskSpaceFailed", "EvictionThresholdMet")
        ]
        if not conditions and not events:
            continue
        pressure = conditions[0]["type"] if conditions else "DiskPressure"
        yield Symptom(
            subject=ObjectKey.read(node),
            cause={
                "DiskPressure": "its disk is nearly full, so it removes images and evicts pods",
                "MemoryPressure": "its memory is nearly used up, so it evicts pods",
                "PIDPressure": "it has nearly no process numbers left, so it evicts pods",
            }[pressure],
            evidence=(
                *(show_condition(node, condition) for condition in conditions),
                *(show_event(node, event) for event in events[-2:]),
            ),
            fix=f"on {name}: `df -h /var/lib/rancher`, then `sudo k3s crictl rmi --prune`; give it a larger disk for "
            "images of 12 GB and more",
        )


@diagnoses(
    make_pitfall("K23", "node-closed", "a node that takes no new pods, while pods wait for it"),
    evidence="Node: spec.unschedulable; Pods that wait and whose selectors allow it",
    reads=("Node", "Pod"),
)
def find_closed_nodes(case: Case) -> Iterator[Symptom]:
    """Look for nodes that were closed, and pods that could run there."""
    for node in case.nodes:
        waiting = [pod for pod in case.pending if matches_node(pod["spec"], node)]
        if node["spec"].get("unschedulable") and waiting:
            yield Symptom(
                subject=ObjectKey.read(node),
                cause=f"it takes no new pods, and {len(waiting)} that could run there wait",
                evidence=(show_field(node, "spec.unschedulable"), show_scheduling(waiting[0])),
                fix=f"kubectl uncordon {node['metadata']['name']}",
            )


def _list_members(case: Case) -> Iterator[tuple[Cluster, Node, Json | None]]:
    """List the machines of the cluster file that are part of this Kubernetes, each with its node."""
    for machine in case.cluster.nodes if case.cluster else ():
        if machine.k3s_role is not None and case.cluster:
            yield case.cluster, machine, case.snapshot.find("Node", machine.name)


@diagnoses(
    make_pitfall("K24", "node-missing", "a machine of the cluster file that is not a node of the cluster"),
    evidence="names of Nodes; nodes with a role of K3s in the cluster file",
    reads=("Node",),
)
def find_missing_nodes(case: Case) -> Iterator[Symptom]:
    """Look for machines that did not join."""
    for _, machine, node in _list_members(case):
        if node is None:
            key = ObjectKey(Kind("", "Node"), "", machine.name)
            yield Symptom(
                subject=key,
                cause="the cluster file has it, and it did not join the cluster",
                evidence=(Evidence(object=key, place="object", value="not there"),),
                fix=f"on {machine.name}: `journalctl -u k3s-agent -e`; its name must be {machine.name!r} there too",
            )


@diagnoses(
    "F02",
    evidence="Node: metadata.labels; labels of the node in the cluster file, and those that it removed",
    reads=("Node",),
)
def find_stale_labels(case: Case) -> Iterator[Symptom]:
    """Look for labels that the cluster file does not have any more: K3s never removes one."""
    for cluster, machine, node in _list_members(case):
        wanted = make_node_labels(cluster, machine)
        domains = _list_domains(cluster)
        for key, value in (get_map((node or {}).get("metadata", {}), "labels")).items():
            is_ours = key.partition("/")[0] in domains and not _OF_OTHERS.match(key)
            if key not in wanted and (is_ours or key in machine.removed_labels):
                yield Symptom(
                    subject=ObjectKey.read(node),
                    cause=f"it still has the label {key}={value}, which the cluster file does not have: K3s adds and "
                    "changes labels, and removes none",
                    evidence=(show_field(node, f"metadata.labels[{key}]", value),),
                    fix=f"kubectl label node {machine.name} {key}-",
                )


def _list_domains(cluster: Cluster) -> set[str]:
    """List the domains of the labels that the cluster file gives to any node."""
    keys = {key for machine in cluster.nodes for key in make_node_labels(cluster, machine)}
    return {key.partition("/")[0] for key in keys if "/" in key}


@diagnoses(
    make_pitfall("K25", "label-differs", "a node's label that differs from the cluster file", Severity.WARNING),
    evidence="Node: metadata.labels; labels of the node in the cluster file",
    reads=("Node",),
)
def find_differing_labels(case: Case) -> Iterator[Symptom]:
    """Look for labels of the cluster file that a node does not have, or has with another value."""
    for cluster, machine, node in _list_members(case):
        labels = get_map((node or {}).get("metadata", {}), "labels")
        for key, value in make_node_labels(cluster, machine).items():
            if node is not None and labels.get(key) != value:
                yield Symptom(
                    subject=ObjectKey.read(node),
                    cause=f"its label {key} is {labels.get(key, 'not set')!r}, and {value!r} in the cluster file",
                    evidence=(show_field(node, f"metadata.labels[{key}]", labels.get(key, "not set")),),
                    fix=f"kubectl label node {machine.name} {key}={value} --overwrite",
                )
