"""The doctor asks containers that run: their logs, and nvidia-smi in those that have a GPU; as a person can."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from control_plane.accounts import lend_account, read_role
from control_plane.cluster import Cluster
from control_plane.machines import RTX_5090
from control_plane.plane import Plane
from control_plane.simulator.images import Image
from corral.diagnosis.diagnosing import KINDS
from corral.kubernetes.api import open_api
from corral.operations.cluster_doctor import ClusterFinding, examine_cluster

_LISTED = "#!/bin/sh\necho 'GPU 0: NVIDIA GeForce RTX 5090 (UUID: GPU-1)'\n"
# https://github.com/NVIDIA/nvidia-container-toolkit/issues/48
_LOST = "#!/bin/sh\necho 'Failed to initialize NVML: Unknown Error'\nexit 255\n"


async def _examine(cluster: Cluster, kubeconfig: Path) -> list[ClusterFinding]:
    answer = await examine_cluster(None, kubeconfig, None)
    assert answer.unread == {}
    assert not [name for name in answer.unanswered if cluster.namespace in name]
    return [item for item in answer.items if f"{cluster.namespace}/" in item.object]


def _create_engine(cluster: Cluster, name: str, image: str) -> None:
    container: dict[str, Any] = {
        "name": "engine",
        "image": image,
        "args": ["-c", "trap 'exit 0' TERM; sleep 3600 & wait"],
        "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "10m"}},
    }
    cluster.create("pods", {"metadata": {"name": name, "labels": {"app": name}}, "spec": {"containers": [container]}})
    cluster.wait_for_pods(f"app={name}", 1)


@pytest.fixture
def person(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """The kubeconfig of an account with the role that the guide has for the doctor."""
    with lend_account(cluster, "corral-doctor", tmp_path / "kubeconfig"):
        yield tmp_path / "kubeconfig"


async def test_role_of_the_guide_lists_the_kinds_of_the_doctor_and_no_others(plane: Plane) -> None:
    async with open_api(kubeconfig=plane.kubeconfig) as api:
        served = await api.discover()
    looked_at = {(kind.group, served[kind].plural) for kind in KINDS}
    rules = [rule for rule in read_role("corral-doctor")["rules"] if rule["verbs"] == ["list"]]
    assert {(group, name) for rule in rules for group in rule["apiGroups"] for name in rule["resources"]} == looked_at


async def test_healthy_pods_have_no_findings_and_a_lost_gpu_and_a_failing_program_have(
    cluster: Cluster, person: Path
) -> None:
    for name, smi in (("engine", _LISTED), ("lost", _LOST)):
        files = {"/usr/local/bin/nvidia-smi": smi}
        cluster.add_image(Image(pattern=f"example.org/{name}:*", argv=["sh"], files=files))
    cluster.add_node("alpha", gpus=[RTX_5090, RTX_5090, RTX_5090], gpu_mode="device-plugin")
    _create_engine(cluster, "ollama", "example.org/engine:1")
    service = {"selector": {"app": "ollama"}, "ports": [{"port": 11434}]}
    cluster.create("services", {"metadata": {"name": "ollama"}, "spec": service})
    cluster.add_image(Image(pattern="example.org/plain:*", argv=["sh"]))  # without nvidia-smi, as many images
    _create_engine(cluster, "backend", "example.org/plain:1")
    assert [(item.id, item.object, item.cause) for item in await _examine(cluster, person)] == []
    _create_engine(cluster, "comfyui", "example.org/lost:1")
    failing = {"name": "main", "image": "example.org/engine:1", "args": ["-c", "echo 'no such model: llama9'; exit 3"]}
    cluster.create("pods", {"metadata": {"name": "failing"}, "spec": {"containers": [failing]}})
    cluster.wait_for(lambda: "CrashLoopBackOff" in str(cluster.read_pod("failing")["status"]), "a second failure")
    findings = {item.id: item for item in await _examine(cluster, person)}
    assert set(findings) == {"K16", "K18"}
    assert findings["K18"].object == f"Pod {cluster.namespace}/comfyui"
    assert "Failed to initialize NVML: Unknown Error" in findings["K18"].evidence[0].value
    assert "with code 3: no such model: llama9" in findings["K16"].cause
