"""Causes of the symptoms that a real API server, scheduler, controllers and Kueue show.

Nodes are objects without a machine, kept ready by their lease: what is looked at here is what the control plane makes
of them. Symptoms of kubelets are in `tests/unit/diagnosis`.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from uuid import uuid4

import pytest

from control_plane.plane import Plane
from corral.cluster import load
from corral.diagnosis.case import Case
from corral.diagnosis.diagnosing import KINDS, diagnose
from corral.diagnosis.values import Finding
from corral.kubernetes.api import open_api
from corral.snapshot import Snapshot

_BEAT_S = 2.0
_PATIENCE_S = 90.0
_GPU = "nvidia.com/gpu"
_HOST = "kubernetes.io/hostname"
_QUEUE = "kueue.x-k8s.io/queue-name"
_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
_OWN = "corral.test/of"
_PATHS = {
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
        path = _PATHS[kind].format(namespace or self.namespace)
        metadata = {"name": name, "labels": {_OWN: self.suffix, **parts.pop("labels", {})}}
        metadata |= parts.pop("metadata", {})
        version = parts.pop("version", None)
        if version is not None:
            path = path.replace("v1beta2", version)
        api_version = "/".join(path.split("/")[2:4]) if path.startswith("/apis/") else "v1"
        value = self.plane.ask("POST", path, {"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts})
        if "{}" not in _PATHS[kind]:
            self.made.append(f"{path}/{name}")
        return value

    def add_node(self, name: str, **options: Any) -> str:
        """Add a node that is ready; `resources` are what it offers in addition to memory and processors."""
        full = self.name(name)
        labels = {_HOST: full, "case": full, **options.get("labels", {})}
        own = {"key": _OWN, "value": self.suffix, "effect": "NoSchedule"}
        self.create("Node", full, labels=labels, spec={"taints": [own, *options.get("taints", [])]})
        offered = {
            "cpu": "8",
            "memory": "32Gi",
            "pods": "50",
            "ephemeral-storage": "100Gi",
            **options.get("resources", {}),
        }
        now = _show_now()
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
            container["resources"] = {"limits": {_GPU: str(gpus)}}
        selector = {"nodeSelector": {"case": node}} if node else {}
        tolerations = [{"key": _OWN, "operator": "Equal", "value": self.suffix}, *parts.pop("tolerations", [])]
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
        labels = {} if queue is None else {_QUEUE: queue}
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

    async def diagnose(self, *wanted: tuple[str, str], cluster: Any = None, others: tuple[str, ...] = ()) -> Findings:
        """Diagnose until the control plane has reacted to everything: (pitfall, subject) of `wanted` are findings."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            case = Case(snapshot=await self.observe(*others), cluster=cluster)
            findings = Findings(diagnose(case).findings)
            if time.monotonic() > deadline or all(findings.has(*entry) for entry in wanted):
                return findings
            await asyncio.sleep(0.5)


class Findings:
    """What was found, by pitfall and the start of the subject's name."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.all = findings

    def has(self, pitfall: str, subject: str) -> bool:
        return any(entry.pitfall.id == pitfall and entry.subject.name.startswith(subject) for entry in self.all)

    def check(self, pitfall: str, subject: str, *words: str) -> None:
        """Check that a finding has these words in its cause, its evidence or its fix."""
        matching = [
            entry for entry in self.all if entry.pitfall.id == pitfall and entry.subject.name.startswith(subject)
        ]
        listed = [(entry.pitfall.id, str(entry.subject), entry.cause) for entry in self.all]
        assert matching, f"{pitfall} of {subject} is not among {listed}"
        texts = [" | ".join([entry.cause, *map(str, entry.evidence), entry.fix]) for entry in matching]
        assert any(all(word in text for word in words) for text in texts), (words, texts)

    def list_about(self, subject: str) -> set[str]:
        """List the pitfalls that are found of a subject."""
        return {entry.pitfall.id for entry in self.all if entry.subject.name.startswith(subject)}


def _get_owner(value: Any) -> str:
    labels: dict[str, str] = value["metadata"].get("labels") or {}
    return labels.get(_OWN, "")


def _show_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.fixture
def scene(plane: Plane, namespace: str) -> Iterator[Scene]:
    """A namespace and nodes of the test's own; their leases are renewed until it ends."""
    scene = Scene(plane, namespace, uuid4().hex[:6])
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT_S):
            for node in tuple(scene.nodes):
                path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}"
                with suppress(OSError):  # the next beat comes soon
                    plane.ask("PATCH", path, {"spec": {"renewTime": _show_now()}}, "application/merge-patch+json")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    yield scene
    ended.set()
    thread.join()
    for path in reversed(scene.made):
        with suppress(HTTPError):
            plane.ask("DELETE", path)


async def test_pods_that_wait_are_explained_by_selectors_taints_and_gpus(scene: Scene) -> None:
    scene.add_node("plain", resources={_GPU: "2"})
    scene.add_node("tainted", resources={_GPU: "1"}, taints=[{"key": _GPU, "value": "true", "effect": "NoSchedule"}])
    scene.add_node("shared", labels={"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-4090-SHARED"})
    scene.add_node("other-name", resources={f"{_GPU}-all": "1"})
    closed = scene.add_node("closed")
    pods: Mapping[str, dict[str, Any]] = {
        "too-many": scene.spec(gpus=16),
        "untolerated": scene.spec(scene.name("tainted"), gpus=1),
        "elsewhere": scene.spec(nodeSelector={_HOST: "pop-os"}),
        "unlabelled": scene.spec(nodeSelector={"role": "inference"}),
        "product": scene.spec(nodeSelector={"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-4090"}),
        "all-gpus": scene.spec(scene.name("other-name"), gpus=1),
        "hungry": scene.spec(container={"resources": {"requests": {"memory": "900Gi"}}}),
        "affine": scene.spec(
            affinity={
                "podAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": _GPU}
                    ]
                }
            }
        ),
    }
    for name, spec in pods.items():
        scene.create_pod(name, spec)
    scene.plane.ask(
        "PATCH", f"/api/v1/nodes/{closed}", {"spec": {"unschedulable": True}}, "application/merge-patch+json"
    )
    scene.create_pod("for-closed", scene.spec(closed))
    findings = await scene.diagnose(
        ("A06", "too-many"), ("A19", "untolerated"), ("A20", "elsewhere"), ("K01", "unlabelled"), ("A13", "product"),
        ("F09", "all-gpus"), ("K03", "hungry"), ("A01", "affine"), ("K23", closed),
    )  # fmt: skip
    findings.check("A06", "too-many", "16 GPUs", "has 2", "Insufficient nvidia.com/gpu")
    findings.check(
        "A19", "untolerated", f"{_GPU}=true:NoSchedule", "untolerated taint", "tolerations: [{key: nvidia.com/gpu"
    )
    findings.check("A20", "elsewhere", "pop-os", scene.name("plain"), "didn't match Pod's node affinity/selector")
    findings.check("K01", "unlabelled", "role=inference", "no such label", "kubectl label node NAME role=inference")
    findings.check("A13", "product", "-SHARED")
    findings.check("F09", "all-gpus", "nvidia.com/gpu-all")
    findings.check("K03", "hungry", "Insufficient memory", "main: 900Gi")
    findings.check("A01", "affine", "topologyKey nvidia.com/gpu")
    findings.check("K23", closed, f"kubectl uncordon {closed}")
    causes = {name: findings.list_about(name) - {"A26"} for name in pods}  # that is about the shared memory of 16 GPUs
    assert all(len(ids) == 1 for ids in causes.values()), causes


async def test_workloads_that_share_gpus_are_explained(scene: Scene) -> None:
    rollout, pinned, full = (scene.add_node(name, resources={_GPU: "1"}) for name in ("rollout", "pinned", "full"))
    preempting = scene.add_node("preempting", resources={_GPU: "1"})
    twice = scene.add_node("twice", resources={_GPU: "1"}, capacity={_GPU: "2"})
    small = scene.add_node("small", resources={"memory": "8Gi"})
    scene.create_deployment("rollout", scene.spec(rollout, gpus=1))
    scene.create_deployment("pinned", scene.spec(gpus=1, nodeSelector={_HOST: pinned}), replicas=2)
    scene.create_deployment("served", scene.spec(full, gpus=1), replicas=2)
    scene.create_deployment("victim", scene.spec(preempting, gpus=1))
    scene.create_pod(
        "large",
        scene.spec(small, container={"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "48Gi"}}}),
    )
    spec = {
        "driver": "gpu.nvidia.com",
        "nodeName": twice,
        "pool": {"name": twice, "generation": 1, "resourceSliceCount": 1},
    }
    broken = {"name": "gpu-1", "taints": [{"key": "gpu.nvidia.com/xid", "value": "79", "effect": "NoSchedule"}]}
    scene.create("ResourceSlice", scene.name("slice"), spec={**spec, "devices": [broken]})
    scene.create(
        "DeviceClass",
        scene.name("gpu"),
        spec={"selectors": [{"cel": {"expression": "device.driver == 'gpu.nvidia.com'"}}]},
    )
    request = {"name": "gpu", "exactly": {"deviceClassName": scene.name("gpu")}}
    scene.create("ResourceClaim", "lost", spec={"devices": {"requests": [request]}})
    claims = [{"name": "gpu", "resourceClaimName": "lost"}]
    scene.create_pod(
        "claimant", scene.spec(twice, resourceClaims=claims, container={"resources": {"claims": [{"name": "gpu"}]}})
    )
    # The same deadlock where GPUs are claimed: the scheduler allocates the only device to the pod that would go next.
    claimed = scene.add_node("claimed")
    pool = {"name": claimed, "generation": 1, "resourceSliceCount": 1}
    only = {"driver": f"{scene.suffix}.example.org", "nodeName": claimed, "pool": pool, "devices": [{"name": "gpu-0"}]}
    scene.create("ResourceSlice", scene.name("only"), spec=only)
    selector = {"cel": {"expression": f"device.driver == '{scene.suffix}.example.org'"}}
    scene.create("DeviceClass", scene.name("only"), spec={"selectors": [selector]})
    wanted = {"name": "gpu", "exactly": {"deviceClassName": scene.name("only")}}
    scene.create("ResourceClaimTemplate", "gpu", spec={"spec": {"devices": {"requests": [wanted]}}})
    claims = [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]
    uses = {"resources": {"claims": [{"name": "gpu"}]}}
    scene.create_deployment("claiming", scene.spec(claimed, resourceClaims=claims, container=uses))
    scene.wait_for_binding("app=rollout")
    scene.wait_for_binding("app=claiming")
    scene.wait_for_binding("app=victim")
    newer = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "example.org/program:2"}]}}}}
    path = _PATHS["Deployment"].format(scene.namespace)
    for name in ("rollout", "claiming"):
        scene.plane.ask("PATCH", f"{path}/{name}", newer, "application/strategic-merge-patch+json")
    scene.create("PriorityClass", scene.name("batch"), value=1000)
    scene.create_pod("important", scene.spec(preempting, gpus=1, priorityClassName=scene.name("batch")))
    findings = await scene.diagnose(
        ("A02", "rollout"), ("A02", "claiming"), ("A07", "pinned"), ("A35", "served"), ("A23", "victim"),
        ("A25", small), ("A32", twice), ("K04", "claimant"), ("K19", twice), ("K19", scene.name("slice")),
    )  # fmt: skip
    findings.check("A02", "rollout", "maxSurge 25%", "Insufficient nvidia.com/gpu", '{"type":"Recreate"')
    findings.check("A02", "claiming", "cannot allocate all claims")
    findings.check("A07", "pinned", "want 2 GPUs, and it has 1")
    findings.check("A35", "served", "all 1 GPUs", "taken by 1 pods")
    findings.check("A23", "victim", "Preempted", "priorityClassName: not set")
    findings.check("A25", small, "48.0 GiB", "8.0 GiB")
    findings.check("A32", twice, "1 devices of gpu.nvidia.com")
    findings.check("K04", "claimant", "gpu.nvidia.com/xid=79:NoSchedule", "status.allocation: not set")
    findings.check("K19", twice, "1 of its 2 GPUs")


async def test_services_and_their_addresses_are_explained(scene: Scene, plane: Plane) -> None:
    other = f"{scene.namespace}-other"
    plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": other}})
    scene.made.append(f"/api/v1/namespaces/{other}")
    node = scene.add_node("web")
    port = {"port": 8188, "targetPort": 8188}
    scene.create_deployment("comfyui", scene.spec(node, container={"ports": [{"name": "web", "containerPort": 8188}]}))
    scene.create("Service", "comfyui-lb", namespace=other, spec={"selector": {"app": "comfyui"}, "ports": [port]})
    scene.create(
        "Service", "comfyui", spec={"selector": {"app": "comfyui"}, "ports": [{"port": 80, "targetPort": "http"}]}
    )
    scene.create(
        "ConfigMap", "backend", data={"OLLAMA_URL": "http://harvis-ai-ollama:11434", "SELF": "http://comfyui:80"}
    )
    scene.create_deployment(
        "backend",
        scene.spec(
            node,
            container={
                "envFrom": [{"configMapRef": {"name": "backend"}}],
                "env": [
                    {"name": "BACKEND_URL", "value": f"http://harvis-ai-backend-workstation.{scene.namespace}:8000/"}
                ],
            },
        ),
    )
    for name in ("first", "second"):
        scene.create("Service", name, spec={"type": "LoadBalancer", "selector": {"app": "comfyui"}, "ports": [port]})
        spec = scene.spec(node, container={"ports": [{"containerPort": 8188, "hostPort": 8188}]})
        scene.create_pod(f"svclb-{name}", spec, labels={"svccontroller.k3s.cattle.io/svcname": name})
    for name, labels in (("svclb", {"svccontroller.k3s.cattle.io/svcname": "first"}), ("speaker", {"app": "metallb"})):
        template = {"metadata": {"labels": {"app": name}}, "spec": scene.spec("no-node")}
        scene.create(
            "DaemonSet", name, labels=labels, spec={"selector": {"matchLabels": {"app": name}}, "template": template}
        )
    peers = [{"namespaceSelector": {"matchLabels": {"name": "ai-agents"}}}]
    scene.create("NetworkPolicy", "closed", spec={"podSelector": {}, "ingress": [{"from": peers}]})
    cluster = load(_HARVIS, filename="cluster.yaml")
    findings = await scene.diagnose(
        ("D01", "comfyui-lb"), ("D05", "backend"), ("D06", "backend"), ("D07", "svclb-"), ("D08", "speaker"),
        ("D10", "closed"), ("K06", "comfyui"), ("K07", "comfyui"),
        cluster=cluster, others=(other,),
    )  # fmt: skip
    findings.check("D01", "comfyui-lb", f"in the namespace '{scene.namespace}'", "endpoints: 0, 0 of them ready")
    findings.check(
        "D05", "backend", "data[OLLAMA_URL]: http://harvis-ai-ollama:11434", "harvis-ai-ollama object: not there"
    )
    findings.check("D06", "backend", "BACKEND_URL", "layout 'workstation'")
    findings.check("D07", "svclb-", "port 8188", "didn't have free ports")
    findings.check("D08", "speaker", "--disable=servicelb")
    findings.check("D10", "closed", "kubernetes.io/metadata.name: ai-agents")
    findings.check("K06", "comfyui", "is not ready")
    findings.check("K07", "comfyui", "'http'", "web")


_HARVIS = """
apiVersion: corral/v1
name: harvis
nodes:
  - {name: pop-os, gpus: [{model: RTX 4090}]}
services:
  - {name: backend, port: 8000, image: "harvis-backend:1.0"}
layouts:
  edge: {services: {backend: {name: harvis-ai-merged-backend, node: pop-os}}}
  workstation: {services: {backend: {name: harvis-ai-backend-workstation, node: pop-os}}}
"""


async def test_volumes_are_explained(scene: Scene, plane: Plane) -> None:
    other = f"{scene.namespace}-other"
    plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": other}})
    scene.made.append(f"/api/v1/namespaces/{other}")
    first, second = scene.add_node("first"), scene.add_node("second")
    volume = scene.name("models")
    term = {"matchExpressions": [{"key": _HOST, "operator": "In", "values": [first]}]}
    scene.create(
        "PersistentVolume",
        volume,
        spec={
            "capacity": {"storage": "50Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "local": {"path": "/srv/models"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
            "claimRef": {"namespace": scene.namespace, "name": "models"},
        },
    )
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "50Gi"}}}
    scene.create("PersistentVolumeClaim", "models", spec={**claim, "storageClassName": "", "volumeName": volume})
    scene.create("PersistentVolumeClaim", "artifacts", namespace=other, spec=claim)
    scene.create("PersistentVolumeClaim", "unknown-class", spec={**claim, "storageClassName": scene.name("nvme")})

    def mount(name: str) -> list[dict[str, Any]]:
        return [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]

    scene.create_pod("edge", scene.spec(nodeSelector={_HOST: first}, volumes=mount("models")))
    scene.create_pod("workstation", scene.spec(nodeSelector={_HOST: second}, volumes=mount("models")))
    scene.create_pod("executor", scene.spec(first, volumes=mount("artifacts")))
    scene.create_pod("typo", scene.spec(first, volumes=mount("modles")))
    findings = await scene.diagnose(
        ("E01", "workstation"), ("E02", "models"), ("E04", "executor"), ("K10", "typo"), ("K11", "unknown-class"),
        others=(other,),
    )  # fmt: skip
    findings.check(
        "E01", "workstation", f"is on {first}", f"runs on {second}", "didn't match PersistentVolume's node affinity"
    )
    findings.check("E02", "models", first, second, "ReadWriteOnce")
    findings.check("E04", "executor", f"'{other}'", 'persistentvolumeclaim "artifacts" not found')
    findings.check("K10", "typo", "modles does not exist")
    findings.check("K11", "unknown-class", f"no StorageClass '{scene.name('nvme')}'", "not found")


async def test_refused_pods_and_blocked_drains_are_explained(scene: Scene, plane: Plane) -> None:
    node = scene.add_node("drained")
    enforce = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    secure = f"{scene.namespace}-secure"
    plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": secure, **enforce["metadata"]}})
    scene.made.append(f"/api/v1/namespaces/{secure}")
    scene.create_deployment("insecure", scene.spec(node), namespace=secure)
    scene.create_deployment("classless", scene.spec(node, runtimeClassName=scene.name("nvidia")))
    scene.create_deployment("accountless", scene.spec(node, serviceAccountName="nobodys"))
    scene.create_deployment("kept", scene.spec(node))
    selector = {"matchLabels": {"app": "kept"}}
    scene.create("PodDisruptionBudget", "kept", spec={"minAvailable": 1, "selector": selector})
    metric = {"metric": {"name": "queue_depth"}, "target": {"type": "Value", "value": "5"}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "kept"}
    scene.create(
        "HorizontalPodAutoscaler",
        "kept",
        spec={"scaleTargetRef": target, "maxReplicas": 2, "metrics": [{"type": "External", "external": metric}]},
    )
    [pod] = scene.wait_for_binding("app=kept")
    scene.set_ready(pod)
    scene.plane.ask("PATCH", f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}}, "application/merge-patch+json")
    findings = await scene.diagnose(
        ("G06", "insecure"), ("A17", "classless"), ("K27", "accountless"), ("A24", "kept"), ("G07", "kept"),
        others=(secure,),
    )  # fmt: skip
    findings.check(
        "G06", "insecure", "'restricted'", "seccompProfile", "metadata.labels[pod-security.kubernetes.io/enforce]"
    )
    findings.check("A17", "classless", f"no RuntimeClass '{scene.name('nvidia')}'", "FailedCreate")
    findings.check("K27", "accountless", "create serviceaccount nobodys")
    findings.check("A24", "kept", pod, "disruptionsAllowed: 0")
    findings.check("G07", "kept", "External", "external metric")


async def test_work_in_queues_is_explained(scene: Scene) -> None:
    single = scene.add_node("single", resources={_GPU: "1"}, labels={"gpu-model": scene.name("one")})
    flavors = {"real": {"gpu-model": scene.name("one")}, "unreal": {"gpu-model": scene.name("h100")}}
    tolerations = [{"key": _OWN, "operator": "Equal", "value": scene.suffix}]
    for name, labels in flavors.items():
        scene.create("ResourceFlavor", scene.name(name), spec={"nodeLabels": labels, "tolerations": tolerations})
    for name, flavor, quota in (("two", "real", 2), ("none", "real", 0), ("wrong", "unreal", 2), ("held", "real", 2)):
        resource = {"name": _GPU, "nominalQuota": quota}
        group = {"coveredResources": [_GPU], "flavors": [{"name": scene.name(flavor), "resources": [resource]}]}
        stop = {"stopPolicy": "Hold"} if name == "held" else {}
        scene.create(
            "ClusterQueue", scene.name(name), spec={"namespaceSelector": {}, "resourceGroups": [group], **stop}
        )
        scene.create("LocalQueue", name, spec={"clusterQueue": scene.name(name)})
    scene.create("LocalQueue", "old", spec={"clusterQueue": scene.name("absent")}, version="v1beta1")
    scene.create_deployment("serving", scene.spec(single, gpus=1))
    scene.wait_for_binding("app=serving")
    scene.create_job("unqueued", scene.spec(single, gpus=1))
    scene.create_job("unreal-quota", scene.spec(gpus=1), queue="two")
    scene.create_job(
        "no-cpu", scene.spec(container={"resources": {"requests": {"cpu": "1"}, "limits": {_GPU: "1"}}}), queue="two"
    )
    scene.create_job("gang", scene.spec(gpus=1), queue="two", parallelism=4, completions=4)
    scene.create_job("training", scene.spec(gpus=1), queue="none")
    scene.create_job("unknown-flavor", scene.spec(gpus=1), queue="wrong")
    scene.create_job("stopped", scene.spec(gpus=1), queue="held")
    scene.create_job("lost", scene.spec(gpus=1), queue="no-such-queue")
    findings = await scene.diagnose(
        ("H01", "unqueued"), ("H02", "job-no-cpu"), ("H03", "unreal-quota"), ("H04", "unknown-flavor"),
        ("H05", "job-gang"), ("H05", "job-training"), ("H06", "old"), ("K02", "unqueued"), ("K26", "job-stopped"),
        ("K26", "job-lost"),
    )  # fmt: skip
    findings.check("H01", "unqueued", "queue-name]: not set", "spec.clusterQueue")
    findings.check("H02", "job-no-cpu", "cpu", "has nvidia.com/gpu alone")
    findings.check("H03", "unreal-quota", "Deployment serving", "nominalQuota[nvidia.com/gpu]: 2")
    findings.check("H04", "unknown-flavor", f"gpu-model={scene.name('h100')}")
    findings.check("H05", "job-gang", "maximum capacity (2)")
    findings.check("H05", "job-training", "maximum capacity (0)", "Deployment serving always runs")
    findings.check("H06", "old", "v1beta1")
    findings.check("K02", "unqueued", "waits for a GPU that serving-")
    findings.check("K26", "job-stopped", "spec.stopPolicy: Hold")
    findings.check("K26", "job-lost", "no LocalQueue")


async def test_healthy_cluster_has_no_findings(scene: Scene) -> None:
    node = scene.add_node("healthy", resources={_GPU: "2"})
    scene.create_deployment(
        "ollama", scene.spec(node, gpus=1, container={"ports": [{"name": "http", "containerPort": 11434}]})
    )
    scene.create(
        "Service", "ollama", spec={"selector": {"app": "ollama"}, "ports": [{"port": 11434, "targetPort": "http"}]}
    )
    url = {"name": "OLLAMA_URL", "value": "http://ollama:11434"}
    elsewhere = {"name": "HF_ENDPOINT", "value": "https://huggingface.co"}
    scene.create_deployment("backend", scene.spec(node, gpus=1, container={"env": [url, elsewhere]}), replicas=1)
    scene.create_deployment("asleep", scene.spec(node, gpus=1), replicas=0)
    scene.create("Service", "asleep", spec={"selector": {"app": "asleep"}, "ports": [{"port": 80}]})
    for pod in (*scene.wait_for_binding("app=ollama"), *scene.wait_for_binding("app=backend")):
        scene.set_ready(pod)
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{scene.namespace}/endpointslices"
    scene.wait_until(slices, lambda answer: any(len(entry.get("endpoints") or ()) == 1 for entry in answer["items"]))
    findings = await scene.diagnose()
    assert [(entry.pitfall.id, str(entry.subject), entry.cause) for entry in findings.all] == []


def test_command_prints_causes_and_names_kinds_that_it_cannot_read(scene: Scene, plane: Plane, tmp_path: Path) -> None:
    node = scene.add_node("alone")
    scene.create_pod("elsewhere", scene.spec(nodeSelector={_HOST: "pop-os"}))
    path = f"{_PATHS['Pod'].format(scene.namespace)}/elsewhere"
    scene.wait_until(path, lambda pod: "Unschedulable" in str(pod["status"].get("conditions")))
    code, whole = _run_doctor(plane.kubeconfig)
    assert code == 1
    [finding] = [item for item in whole["items"] if item["object"] == f"Pod {scene.namespace}/elsewhere"]
    assert (finding["id"], finding["name"], finding["severity"]) == ("A20", "hostname-pin-mismatch", "error")
    assert {"object": f"Node {node}", "place": f"metadata.labels[{_HOST}]", "value": node} in finding["evidence"]
    assert whole["unread"] == {}
    # An account that can read pods alone.
    account = f"/api/v1/namespaces/{scene.namespace}/serviceaccounts"
    plane.ask("POST", account, {"metadata": {"name": "reader"}})
    name, group = scene.name("reader"), "/apis/rbac.authorization.k8s.io/v1"
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    plane.ask("POST", f"{group}/clusterroles", {"metadata": {"name": name}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": scene.namespace}
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    plane.ask("POST", f"{group}/clusterrolebindings", binding)
    scene.made += [f"{group}/clusterroles/{name}", f"{group}/clusterrolebindings/{name}"]
    asked: dict[str, Any] = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = plane.ask("POST", f"{account}/reader/token", asked)["status"]["token"]
    text = plane.kubeconfig.read_text()
    limited = tmp_path / "kubeconfig"
    limited.write_text(text.replace(text.partition("token: ")[2].split()[0], token))
    _, part = _run_doctor(limited)
    assert "Node" in part["unread"]
    assert "Pod" not in part["unread"]
    assert {"A20", "D01", "H03"} <= {entry["id"] for entry in part["unjudged"]}
    assert "A20" not in {item["id"] for item in part["items"]}


def _run_doctor(kubeconfig: Path) -> tuple[int, Any]:
    argv = [sys.executable, "-m", "corral", "doctor", "--kubernetes", "--json"]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    ran = subprocess.run(argv, env=environment, cwd=kubeconfig.parent, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    return ran.returncode, json.loads(ran.stdout)
