"""A scene of the control plane alone: nodes are objects without a machine, kept ready by their lease.

What is looked at is what the scheduler, controllers and Kueue make of the objects of a scene.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from control_plane.plane import Plane
from corral.diagnosis.case import Case
from corral.diagnosis.diagnosing import KINDS, diagnose
from corral.diagnosis.values import Finding
from corral.kubernetes.api import open_api
from corral.snapshot import Snapshot

_PATIENCE_S = 90.0
GPU = "nvidia.com/gpu"
HOST = "kubernetes.io/hostname"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
OWN_LABEL = "corral.test/of"
PATHS = {
    "ClusterQueue": f"{_KUEUE}/clusterqueues",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "DeviceClass": "/apis/resource.k8s.io/v1/deviceclasses",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "LocalQueue": f"{_KUEUE}/namespaces/{{}}/localqueues",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "Node": "/api/v1/nodes",
    "PersistentVolume": "/api/v1/persistentvolumes",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "Pod": "/api/v1/namespaces/{}/pods",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "ResourceClaim": "/apis/resource.k8s.io/v1/namespaces/{}/resourceclaims",
    "ResourceClaimTemplate": "/apis/resource.k8s.io/v1/namespaces/{}/resourceclaimtemplates",
    "ResourceFlavor": f"{_KUEUE}/resourceflavors",
    "ResourceSlice": "/apis/resource.k8s.io/v1/resourceslices",
    "Service": "/api/v1/namespaces/{}/services",
}


@dataclass
class Scene:
    """Objects of one test: a namespace, and nodes that take its pods alone."""

    plane: Plane
    namespace: str
    suffix: str
    nodes: list[str] = field(default_factory=list[str])
    made: list[str] = field(default_factory=list[str])

    def name(self, name: str) -> str:
        """Name an object of the cluster after this test."""
        return f"{name}-{self.suffix}"

    def create(self, kind: str, name: str, *, namespace: str | None = None, **parts: Any) -> Any:
        """Create an object; those without a namespace are deleted at the end."""
        path = PATHS[kind].format(namespace or self.namespace)
        metadata = {"name": name, "labels": {OWN_LABEL: self.suffix, **parts.pop("labels", {})}}
        metadata |= parts.pop("metadata", {})
        version = parts.pop("version", None)
        if version is not None:
            path = path.replace("v1beta2", version)
        api_version = "/".join(path.split("/")[2:4]) if path.startswith("/apis/") else "v1"
        value = self.plane.ask("POST", path, {"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts})
        if "{}" not in PATHS[kind]:
            self.made.append(f"{path}/{name}")
        return value

    def add_node(self, name: str, **options: Any) -> str:
        """Add a node that is ready; `resources` are what it offers in addition to memory and processors."""
        full = self.name(name)
        labels = {HOST: full, "case": full, **options.get("labels", {})}
        own = {"key": OWN_LABEL, "value": self.suffix, "effect": "NoSchedule"}
        self.create("Node", full, labels=labels, spec={"taints": [own, *options.get("taints", [])]})
        offered = {
            "cpu": "8",
            "memory": "32Gi",
            "pods": "50",
            "ephemeral-storage": "100Gi",
            **options.get("resources", {}),
        }
        now = show_now()
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now}
        status = {"capacity": offered | options.get("capacity", {}), "allocatable": offered, "conditions": [ready]}
        self.plane.ask("PATCH", f"/api/v1/nodes/{full}/status", {"status": status}, "application/merge-patch+json")
        lease = {"metadata": {"name": full}, "spec": {"holderIdentity": full, "renewTime": now}}
        self.plane.ask("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease)
        self.made.append(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{full}")
        self.nodes.append(full)
        return full

    def spec(self, node: str | None = None, *, gpus: int = 0, **parts: Any) -> dict[str, Any]:
        """Write the specification of a pod that the nodes of this test take."""
        container: dict[str, Any] = {"name": "main", "image": "example.org/program:1", **parts.pop("container", {})}
        if gpus:
            container["resources"] = {"limits": {GPU: str(gpus)}}
        selector = {"nodeSelector": {"case": node}} if node else {}
        tolerations = [{"key": OWN_LABEL, "operator": "Equal", "value": self.suffix}, *parts.pop("tolerations", [])]
        return {
            "containers": [container],
            "tolerations": tolerations,
            "terminationGracePeriodSeconds": 0,
            **selector,
            **parts,
        }

    def create_pod(self, name: str, spec: dict[str, Any], **parts: Any) -> Any:
        return self.create("Pod", name, spec=spec, **parts)

    def create_deployment(self, name: str, spec: dict[str, Any], *, replicas: int = 1, **parts: Any) -> Any:
        template = {"metadata": {"labels": {"app": name}}, "spec": spec}
        body = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
        return self.create("Deployment", name, spec=body | parts.pop("more", {}), **parts)

    def create_job(self, name: str, spec: dict[str, Any], *, queue: str | None = None, **more: Any) -> Any:
        labels = {} if queue is None else {QUEUE_LABEL: queue}
        body = {"template": {"spec": {"restartPolicy": "Never", **spec}}, **more}
        return self.create("Job", name, labels=labels, spec=body)

    def wait_until(self, path: str, holds: Callable[[Any], bool]) -> Any:
        """Wait until an object or a list is as wanted."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            value = self.plane.ask("GET", path)
            if holds(value) or time.monotonic() > deadline:
                assert holds(value), value
                return value
            time.sleep(0.3)

    def set_ready(self, pod: str) -> None:
        """Write the status of a pod that runs, as a kubelet does."""
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "podIP": "192.0.2.7"}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/status"
        self.plane.ask("PATCH", path, {"status": status}, "application/merge-patch+json")

    def wait_for_binding(self, selector: str, count: int = 1) -> list[str]:
        """Wait until the scheduler placed pods, and name them."""
        path = f"/api/v1/namespaces/{self.namespace}/pods?labelSelector={selector}"

        def list_bound(answer: Any) -> list[str]:
            return [pod["metadata"]["name"] for pod in answer["items"] if pod["spec"].get("nodeName")]

        return list_bound(self.wait_until(path, lambda answer: len(list_bound(answer)) >= count))

    async def observe(self, *others: str) -> Snapshot:
        """Take a snapshot of the objects of this test."""
        async with open_api(kubeconfig=self.plane.kubeconfig) as api:
            snapshot = await api.observe(KINDS, [self.namespace, *others])
        own = {
            key: value
            for key, value in snapshot.objects.items()
            if key.namespace or key.kind.name == "Namespace" or _get_owner(value) == self.suffix
        }
        return Snapshot(objects=own, served=snapshot.served, unread=snapshot.unread, version=snapshot.version)

    async def diagnose(self, *wanted: tuple[str, ...], cluster: Any = None, others: tuple[str, ...] = ()) -> Findings:
        """Diagnose until the control plane has reacted to everything.

        `wanted` are findings: the pitfall, the start of the subject's name, and words of the cause, the evidence or the
        fix. A cause can be known from objects alone, before the event about it is there.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            case = Case(snapshot=await self.observe(*others), cluster=cluster)
            findings = Findings(diagnose(case).findings)
            missing = [entry for entry in wanted if not findings.has(*entry)]
            if not missing or time.monotonic() > deadline:
                assert not missing, (missing, findings.list_texts())
                return findings
            await asyncio.sleep(0.5)


class Findings:
    """What was found."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.all = findings

    def has(self, pitfall: str, subject: str, *words: str) -> bool:
        """Return whether a finding about this subject has these words in its cause, its evidence or its fix."""
        return any(
            entry.pitfall.id == pitfall
            and entry.subject.name.startswith(subject)
            and all(word in _write_text(entry) for word in words)
            for entry in self.all
        )

    def list_about(self, subject: str) -> set[str]:
        """List the pitfalls that are found of a subject."""
        return {entry.pitfall.id for entry in self.all if entry.subject.name.startswith(subject)}

    def list_texts(self) -> list[str]:
        """List all findings in words."""
        return [f"{entry.pitfall.id} {entry.subject}: {_write_text(entry)}" for entry in self.all]


def _write_text(finding: Finding) -> str:
    return " | ".join([finding.cause, *map(str, finding.evidence), finding.fix])


def _get_owner(value: Any) -> str:
    labels: dict[str, str] = value["metadata"].get("labels") or {}
    return labels.get(OWN_LABEL, "")


def show_now() -> str:
    """Write the time as the API server does."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
