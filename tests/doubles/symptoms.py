"""What kubelets, runtimes and programs report of a node, as objects and logs; each with the pitfall that it means."""

# ruff: noqa: E501 - a line of a cluster file is a whole node

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corral.diagnosis.values import ContainerKey, Printed

GPU = "nvidia.com/gpu"
KEY = ContainerKey("ai", "program", "main")
NFS = {"name": "models", "nfs": {"server": "10.0.0.9", "path": "/srv/models"}}


def make_pod(
    *, spec: Mapping[str, Any] | None = None, status: Mapping[str, Any] | None = None, **container: Any
) -> Any:
    """Make a pod whose only container is `program`'s main one."""
    main = {"name": "main", "image": "example.org/program:1", **container}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "program", "namespace": "ai", "uid": "pod"},
        "spec": {"nodeName": "alpha", "containers": [main], **(spec or {})},
        "status": {"phase": "Running", **(status or {})},
    }


def make_node(name: str = "alpha", *, gpus: int = 1, labels: Mapping[str, str] | None = None, **status: Any) -> Any:
    offered = {"memory": "64Gi", **({GPU: str(gpus)} if gpus else {})}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"node-{name}", "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {},
        "status": {
            "capacity": offered,
            "allocatable": offered,
            "nodeInfo": {"architecture": "arm64"},
            "conditions": [{"type": "Ready", "status": "True"}],
            **status,
        },
    }


def make_event(reason: str, message: str, **about: str) -> Any:
    """Make an event about the pod, or about another object."""
    involved = {"kind": "Pod", "namespace": "ai", "name": "program", "uid": "pod", **about}
    metadata = {"name": reason.lower(), "namespace": "ai"}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": metadata,
        "involvedObject": involved,
        "reason": reason,
        "message": message,
    }


def wait(reason: str, message: str, **more: Any) -> dict[str, Any]:
    """Make the status of a pod whose container waits."""
    state = {"name": "main", "ready": False, "state": {"waiting": {"reason": reason, "message": message}}, **more}
    return {"phase": "Pending", "containerStatuses": [state]}


LIMIT = {"resources": {"limits": {GPU: "1"}}}


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """What a kubelet, a runtime or a program reported, and what it means."""

    pitfall: str
    words: tuple[str, ...]
    """In the cause, the evidence or the fix."""
    objects: tuple[Any, ...] = ()
    log: str = ""
    smi: Printed | None = None
    cluster: str = ""


CLUSTER = """
apiVersion: corral/v1
name: lab
nodes:
  - {name: alpha, k3sRole: agent, address: 10.0.0.2, gpus: [{model: RTX 5070 Ti}, {model: RTX 3060 12GB}], labels: {hydra.io/role: both}}
  - {name: beta, k3sRole: server, address: 10.0.0.3, gpus: []}
"""
