"""The control plane of these tests is real: it refuses what Kubernetes refuses and admits what Kueue admits."""

from __future__ import annotations

import time
from typing import Any
from urllib.error import HTTPError

import pytest

from control_plane.plane import Plane

_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"


def test_api_server_refuses_what_is_not_an_object(plane: Plane, namespace: str) -> None:
    pod: dict[str, Any] = {"metadata": {"name": "faulty"}, "spec": {"containers": []}}
    with pytest.raises(HTTPError) as refused:
        plane.ask("POST", f"/api/v1/namespaces/{namespace}/pods", pod)
    assert refused.value.code == 422


def test_kueue_admits_a_job_within_its_quota_and_not_one_above(plane: Plane, namespace: str) -> None:
    plane.apply(_make_kueue("ResourceFlavor", namespace, {}), f"{_KUEUE}/resourceflavors")
    quota = {"name": "nvidia.com/gpu", "nominalQuota": 1}
    group = {"coveredResources": ["nvidia.com/gpu"], "flavors": [{"name": namespace, "resources": [quota]}]}
    spec: dict[str, Any] = {"namespaceSelector": {}, "resourceGroups": [group]}
    plane.apply(_make_kueue("ClusterQueue", namespace, spec), f"{_KUEUE}/clusterqueues")
    queue = _make_kueue("LocalQueue", "queue", {"clusterQueue": namespace})
    plane.apply(queue, f"{_KUEUE}/namespaces/{namespace}/localqueues")
    for name, gpus in (("small", 1), ("large", 2)):
        container = {"name": "work", "image": "busybox", "resources": {"limits": {"nvidia.com/gpu": gpus}}}
        job = {
            "metadata": {"name": name, "labels": {"kueue.x-k8s.io/queue-name": "queue"}},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
        }
        plane.ask("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", job)
    deadline = time.monotonic() + 60
    while True:
        jobs = plane.ask("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
        suspended = {job["metadata"]["name"]: job["spec"]["suspend"] for job in jobs}
        if not suspended["small"] or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert suspended == {"small": False, "large": True}


def _make_kueue(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}, "spec": spec}
