"""Checks of a layout by its objects: a healthy snapshot has none that is bad, and each fault is found by its own."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import yaml

from corral.deploying.objects import LayoutObjects
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.deploying.applying import make_wanted
from corral.snapshot import Kind, Snapshot
from corral.verifying.objects import check_objects
from corral.verifying.values import Check, Mark, Subject, conclude

Json = dict[str, Any]
_CARDS = ["RTX 4090", "RTX 3090"]
_PLACED: Json = {"voice": {"node": "one", "gpus": [0]}}
_PRODUCTS = ["NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 3090"]


def make_layout(mode: str = "devicePlugin", *, placements: Json = _PLACED) -> LayoutObjects:
    """A layout whose service has the first card of a node."""
    service = {"name": "voice", "image": "voice:1", "port": 80, "gpus": 1}
    value = {
        "apiVersion": "corral/v1",
        "name": "yard",
        "kubernetes": {"namespace": "ai", "gpuMode": mode},
        "nodes": [{"name": "one", "gpus": [{"model": card, "index": index} for index, card in enumerate(_CARDS)]}],
        "services": [service],
        "layouts": {"edge": {"services": placements}},
    }
    return make_wanted(check_cluster(FileText(text=yaml.safe_dump(value))), None)


def make_objects(wanted: LayoutObjects) -> list[Json]:
    """The objects of a cluster where the layout is healthy, as an API server has them."""
    objects: list[Json] = [deepcopy(value) for value in wanted.objects]
    (workload,) = (value for value in objects if value["kind"] == "Deployment")
    spec = workload["spec"]["template"]["spec"] | {"nodeName": "one"}
    labels = workload["spec"]["template"]["metadata"]["labels"]
    conditions = [{"type": "Ready", "status": "True"}]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "voice-1", "namespace": "ai", "labels": labels, "uid": "1"},
        "spec": spec,
        "status": {
            "conditions": conditions,
            "resourceClaimStatuses": [{"name": "gpus", "resourceClaimName": "voice-1-gpus"}],
        },
    }
    workload["status"] = {"replicas": 1}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "one", "labels": {"kubernetes.io/hostname": "one"}},
        "status": {"allocatable": {"nvidia.com/gpu": "2"}},
    }
    metadata = {"name": "voice-x", "namespace": "ai", "labels": {"kubernetes.io/service-name": "voice"}}
    endpoint = {"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "targetRef": {"name": "voice-1"}}
    slice_ = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata}
    result = {"driver": "gpu.nvidia.com", "pool": "one", "device": "gpu-0", "request": "gpu"}
    claim = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "voice-1-gpus", "namespace": "ai"},
        "status": {"allocation": {"devices": {"results": [result]}}},
    }
    devices = [
        {"name": f"gpu-{index}", "attributes": {"productName": {"string": product}}}
        for index, product in enumerate(_PRODUCTS)
    ]
    offered = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": "one"},
        "spec": {"driver": "gpu.nvidia.com", "nodeName": "one", "pool": {"name": "one"}, "devices": devices},
    }
    return [*objects, pod, node, slice_ | {"endpoints": [endpoint]}, claim, offered]


def check(wanted: LayoutObjects, objects: list[Json]) -> tuple[Check, ...]:
    return check_objects(wanted, Snapshot.make(objects, wanted.kinds))


def find(objects: list[Json], kind: str) -> Json:
    return next(value for value in objects if value["kind"] == kind)


@pytest.mark.parametrize("mode", ["devicePlugin", "dra"])
def test_healthy_layout_is_all_right_and_names_what_was_seen(mode: str) -> None:
    wanted = make_layout(mode)
    checks = check(wanted, make_objects(wanted))
    assert conclude(checks) is Mark.OK, list(map(str, checks))
    assert {item.subject for item in checks} == {Subject.PODS, Subject.GPUS, Subject.ENDPOINTS}
    assert all(item.evidence for item in checks)
    texts = list(map(str, checks))
    assert "ok voice on one: 1 of 1 ready" in texts
    assert "ok GPUs of one: 2 of 2 offered" in texts
    assert "ok Service ai/voice: 1 of 1 ready pods" in texts


def lose_readiness(objects: list[Json]) -> None:
    find(objects, "Pod")["status"]["conditions"][0]["status"] = "False"


def move_pod(objects: list[Json]) -> None:
    find(objects, "Pod")["spec"]["nodeName"] = "two"


def take_gpu(objects: list[Json]) -> None:
    find(objects, "Pod")["spec"]["containers"][0]["resources"] = {}


def lose_gpu(objects: list[Json]) -> None:
    find(objects, "Node")["status"]["allocatable"]["nvidia.com/gpu"] = "1"


def empty_slice(objects: list[Json]) -> None:
    find(objects, "EndpointSlice")["endpoints"] = []


def change_selector(objects: list[Json]) -> None:
    find(objects, "Service")["spec"]["selector"] = {"app": "other"}
    empty_slice(objects)


def remove_service(objects: list[Json]) -> None:
    objects.remove(find(objects, "Service"))


def scale_down(objects: list[Json]) -> None:
    find(objects, "Deployment")["spec"]["replicas"] = 0
    objects.remove(find(objects, "Pod"))
    empty_slice(objects)


@pytest.mark.parametrize(
    ("fault", "subject", "words"),
    [
        (lose_readiness, Subject.PODS, "0 of 1 ready"),
        (move_pod, Subject.PODS, "voice-1 is on two, and the layout says one"),
        (scale_down, Subject.PODS, "0 of 1 ready: others have scaled it down"),
        (take_gpu, Subject.GPUS, "voice-1 has 0 of 1"),
        (lose_gpu, Subject.GPUS, "1 of 2 offered"),
        (empty_slice, Subject.ENDPOINTS, "it does not lead to voice-1"),
        (change_selector, Subject.ENDPOINTS, "others have changed its selector"),
        (remove_service, Subject.ENDPOINTS, "not applied"),
    ],
)
def test_fault_is_found_by_the_check_of_its_subject_with_evidence_and_fix(
    fault: Callable[[list[Json]], None], subject: Subject, words: str
) -> None:
    wanted = make_layout()
    objects = make_objects(wanted)
    fault(objects)
    bad = [item for item in check(wanted, objects) if item.mark is Mark.BAD and item.subject is subject]
    assert any(words in item.what for item in bad), list(map(str, bad))
    assert all(item.fix for item in bad)


def test_claimed_device_of_another_model_is_found() -> None:
    wanted = make_layout("dra")
    objects = make_objects(wanted)
    find(objects, "ResourceClaim")["status"]["allocation"]["devices"]["results"][0]["device"] = "gpu-1"
    (bad,) = [item for item in check(wanted, objects) if item.mark is Mark.BAD]
    assert bad.what == f"voice-1 has {_PRODUCTS[1]}, and the layout plans {_PRODUCTS[0]}"


def test_device_that_its_driver_has_tainted_is_not_offered() -> None:
    wanted = make_layout("dra")
    objects = make_objects(wanted)
    taint = {"key": "gpu.nvidia.com/xid", "value": "79", "effect": "NoExecute"}
    find(objects, "ResourceSlice")["spec"]["devices"][1]["taints"] = [taint]
    (bad,) = [item for item in check(wanted, objects) if item.mark is Mark.BAD]
    assert bad.what == "1 of 2 offered"
    assert "gpu.nvidia.com/xid=79:NoExecute" in bad.evidence[1]


def test_kind_that_cannot_be_read_is_unknown_and_never_bad() -> None:
    wanted = make_layout()
    healthy = Snapshot.make(make_objects(wanted), wanted.kinds)
    kind = Kind("", "Pod")
    objects = {key: value for key, value in healthy.objects.items() if key.kind != kind}
    blind = Snapshot(objects=objects, served=healthy.served, unread={kind: "pods is forbidden"})
    (unknown,) = check_objects(wanted, blind)
    assert (unknown.mark, conclude([unknown])) == (Mark.UNKNOWN, Mark.UNKNOWN)
    assert "pods is forbidden" in unknown.what


def test_service_on_demand_is_all_right_without_pods_and_its_address_is_not_asked_for() -> None:
    wanted = make_layout(placements={})
    checks = check(wanted, [deepcopy(value) for value in wanted.objects])
    assert [str(item) for item in checks if item.subject is not Subject.GPUS] == ["ok voice: on demand, 0 ready now"]
