"""Causes, differences and missing parts, concluded from objects; those of pods are quoted from a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from corral.deploying.differences import FieldDifference, compare_objects, list_foreign_fields
from corral.deploying.health import judge_services
from corral.deploying.lacking import find_lacking, is_without_registry, write_next
from corral.deploying.objects import LayoutObjects
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.deploying.applying import make_wanted
from corral.rendering.targets import render_cluster
from corral.snapshot import Snapshot
from doubles.rendered_clusters import cluster_text

Json = dict[str, Any]
SERVICES: list[Json] = [{"name": "voice", "image": "voice:1", "port": 80, "gpus": 1, "node": "one"}]
LABELS = {"app.kubernetes.io/name": "voice", "app.kubernetes.io/part-of": "yard"}


def make_layout(**parts: Any) -> LayoutObjects:
    text = cluster_text(**({"kubernetes": {}, "services": SERVICES} | parts))
    return make_wanted(check_cluster(FileText(text=text)), None)


def make_snapshot(wanted: LayoutObjects, *values: Json, served: bool = True) -> Snapshot:
    return Snapshot.make(values, wanted.kinds if served else [])


def judge(pod: Json, *events: Json) -> tuple[str, ...]:
    """The causes for a pod of a workload that was applied."""
    wanted = make_layout()
    (workload,) = [value for value in wanted.objects if value["kind"] == "Deployment"]
    metadata = {"name": "voice-1", "namespace": "corral", "labels": LABELS, "uid": "1"}
    value = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": "one"}} | pod
    live = workload | {"status": {"replicas": 1}}
    (health,) = judge_services(wanted, make_snapshot(wanted, live, value, *events))
    return health.causes


def test_condition_of_scheduling_is_the_cause_without_what_it_says_of_preemption() -> None:
    message = (
        "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) didn't match Pod's node affinity/selector. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    (cause,) = judge({"spec": {}, "status": {"conditions": [condition]}})
    assert cause.startswith("voice-1 has no node: 0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s)")
    assert "preemption" not in cause.lower()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}},
            "image voice:1 cannot be pulled",
        ),
        (
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
                "restartCount": 4,
            },
            "container voice ended 4 times: out of memory (OOMKilled)",
        ),
        (
            {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "litellm" not found'}}},
            'CreateContainerConfigError: secret "litellm" not found',
        ),
    ],
)
def test_state_of_a_container_is_the_cause(status: Json, words: str) -> None:
    (cause,) = judge({"status": {"containerStatuses": [{"name": "voice", "image": "voice:1"} | status]}})
    assert words in cause


def test_last_warning_is_the_cause_where_no_container_says_more() -> None:
    event: Json = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "a", "namespace": "corral"},
        "involvedObject": {"uid": "1"},
        "type": "Warning",
        "reason": "FailedMount",
        "message": "MountVolume.SetUp failed for volume: mount.nfs: Connection timed out",
    }
    (cause,) = judge({"status": {"containerStatuses": []}}, event)
    assert cause == "voice-1: FailedMount: MountVolume.SetUp failed for volume: mount.nfs: Connection timed out"


def test_gate_of_kueue_is_the_cause() -> None:
    pod: Json = {"spec": {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]}, "status": {}}
    assert judge(pod) == ("voice-1 waits for kueue.x-k8s.io/admission",)


def make_map(**data: str) -> Json:
    metadata: Json = {"name": "a", "labels": {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def test_difference_names_each_field_and_quantities_of_one_value_are_the_same() -> None:
    before, after = make_map(first="1", second="2", size="1k"), make_map(first="1", second="3", size="1000")
    assert compare_objects(before, after, after) == (FieldDifference(field=".data.second", before='"2"', after='"3"'),)


def test_entries_of_lists_are_compared_by_their_names() -> None:
    before, after = (make_map() | {"spec": [{"name": "a", "image": image}, {"name": "b"}]} for image in ("1", "2"))
    after["spec"].reverse()
    (field,) = compare_objects(before, after, after)
    assert field.field == '.spec[name="a"].image'


def test_fields_of_controllers_and_of_a_status_are_not_those_of_others() -> None:
    value = make_map()
    fields: Json = {"f:data": {"f:mine": {}}}
    value["metadata"]["managedFields"] = [
        {"manager": "corral", "operation": "Apply", "fieldsV1": fields},
        {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": {"f:data": {"f:x": {}}}},
        {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:data": {"f:mine": {}, "f:added": {}}}},
        {"manager": "kubelet-of-others", "operation": "Update", "subresource": "status", "fieldsV1": fields},
    ]
    (foreign,) = list_foreign_fields("ConfigMap a", value)
    assert (foreign.manager, foreign.fields) == ("kubectl-edit", (".data.added",))


def make_node(name: str, **status: Any) -> Json:
    labels = {"kubernetes.io/hostname": name}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}


def test_missing_parts_are_named_with_the_next_command() -> None:
    wanted = make_layout(kubernetes={"distribution": "k3s"})
    lacking = find_lacking(wanted, make_snapshot(wanted, make_node("one", allocatable={}), served=False))
    words = [lack.what for lack in lacking]
    assert "Kueue 0.19.2" in words
    assert "node two" in words
    assert "NVIDIA's device plugin on one" in words
    assert "image voice:1 on one, for voice" in words
    commands = write_next(lacking)
    assert commands[0].startswith("corral render --only addons --out out && kubectl apply -f out/addons/kueue.yaml -f ")
    assert "docker save voice:1 | ssh one sudo k3s ctr images import -" in commands


def test_named_addons_are_those_that_are_rendered() -> None:
    wanted = make_layout(kubernetes={"distribution": "k3s"})
    cluster = wanted.installation.cluster
    files = render_cluster(cluster, source="cluster.yaml", text=wanted.installation.text, only=("addons",)).files
    lacking = find_lacking(wanted, make_snapshot(wanted, make_node("one"), served=False))
    assert {f"addons/{lack.addon}.yaml" for lack in lacking if lack.addon} <= files.keys()


def test_nothing_is_missing_where_everything_is() -> None:
    wanted = make_layout()
    nodes = [
        make_node(name, allocatable={"nvidia.com/gpu": "1"}, images=[{"names": ["docker.io/library/voice:1"]}])
        for name in ("one", "two")
    ]
    images = ("nvcr.io/dcgm-exporter:1", "quay.io/node-exporter:1", "kube-state-metrics:1", "prom/prometheus:1")
    containers = [{"image": image} for image in (*images, "grafana/grafana:1", "grafana/loki:1")]
    monitoring: Json = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "all", "namespace": "m"}}
    pod = {"template": {"spec": {"containers": containers}}}
    assert find_lacking(wanted, make_snapshot(wanted, *nodes, monitoring | {"spec": pod})) == ()


@pytest.mark.parametrize(
    ("image", "without"),
    [("harvis-backend:1.0", True), ("busybox", False), ("ollama/ollama:1", False), ("registry.local/a:1", False)],
)
def test_image_of_one_word_that_nothing_knows_is_in_no_registry(image: str, without: bool) -> None:
    assert is_without_registry(image) is without
