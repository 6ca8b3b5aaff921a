"""The steps that bring a cluster to a layout, decided from a snapshot alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from corral.deploying.objects import LayoutObjects
from corral.deploying.order import CLAIM, CONFIG_MAP, DEPLOYMENT, STORAGE_CLASS, rank_kind
from corral.deploying.state import State, TakenNamespaceError, read_state
from corral.deploying.steps import OthersObjectsError, RestrictedLabelsError, Verb, plan_deployment
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.deploying.applying import NoLayoutError, choose_layout, make_wanted
from corral.snapshot import Kind, ObjectKey, Snapshot
from doubles.rendered_clusters import cluster_text

Json = dict[str, Any]
NAMES = ("day", "night")
STATE = State(cluster="yard", namespace="corral")
SERVICES: list[Json] = [
    {"name": "voice", "image": "registry.local/voice:1", "port": 80, "gpus": 1, "storage": ["voices"]},
    {"name": "page", "kind": "nginx", "calls": ["voice"]},
]
PARTS: Json = {
    "kubernetes": {},
    "services": SERVICES,
    "storage": [{"name": "voices", "kind": "local", "node": "one", "path": "/srv/voices", "size": "1Gi"}],
}


def make_layout(layout: str | None = None, **parts: Any) -> LayoutObjects:
    checked = check_cluster(FileText(text=cluster_text(**(PARTS | parts))))
    return make_wanted(checked, choose_layout(checked, STATE, layout))


def make_snapshot(wanted: LayoutObjects, *values: Json) -> Snapshot:
    served = {ObjectKey.read(value).kind for value in wanted.objects}
    return Snapshot.make(values, served)


def make_object(key: ObjectKey, *, cluster: str = "yard", manager: str = "corral", operation: str = "Apply") -> Json:
    labels = {"app.kubernetes.io/part-of": cluster, "app.kubernetes.io/managed-by": "corral"}
    metadata: Json = {"name": key.name, "namespace": key.namespace, "labels": labels}
    metadata["managedFields"] = [{"manager": manager, "operation": operation, "fieldsV1": {}}]
    version = f"{key.kind.group}/v1" if key.kind.group else "v1"
    return {"apiVersion": version, "kind": key.kind.name, "metadata": metadata}


def test_objects_come_after_what_they_refer_to() -> None:
    wanted = make_layout()
    kinds = [step.key.kind.name for step in plan_deployment(wanted, make_snapshot(wanted), STATE).steps]
    places = [
        kinds.index(name) for name in ("Namespace", "ConfigMap", "PersistentVolumeClaim", "Service", "Deployment")
    ]
    assert places == sorted(places)
    assert kinds.index("ClusterQueue") > kinds.index("ResourceFlavor")


def test_objects_are_those_that_are_rendered_for_the_layout() -> None:
    layouts = {name: {"kind": "pool", "services": {"voice": {"node": "one", "configMap": name}}} for name in NAMES}
    services = [{**SERVICES[0], "env": {"A": "1"}}, *SERVICES[1:]]
    day, night = (make_layout(layout=name, layouts=layouts, services=services) for name in NAMES)
    settings = [{key.name for key in map(ObjectKey.read, wanted.objects)} & set(NAMES) for wanted in (day, night)]
    assert settings == [{"day"}, {"night"}]


def test_object_whose_crd_is_missing_waits() -> None:
    wanted = make_layout()
    snapshot = Snapshot.make((), [kind for kind in wanted.kinds if kind.group != "kueue.x-k8s.io"])
    plan = plan_deployment(wanted, snapshot, STATE)
    assert {step.key.kind.group for step in plan.waiting} == {"kueue.x-k8s.io"}
    assert not {step.key.kind.group for step in plan.steps} & {"kueue.x-k8s.io"}


def test_pruned_is_what_corral_applied_for_this_file_and_no_volume() -> None:
    wanted = make_layout()
    old, claim = ObjectKey(DEPLOYMENT, "corral", "old"), ObjectKey(CLAIM, "corral", "old")
    of_others = ObjectKey(DEPLOYMENT, "corral", "theirs")
    copied, written = ObjectKey(DEPLOYMENT, "corral", "copied"), ObjectKey(DEPLOYMENT, "corral", "written")
    snapshot = make_snapshot(
        wanted,
        make_object(old),
        make_object(claim),
        make_object(of_others, cluster="other"),
        make_object(copied, manager="kubectl"),
        make_object(written, operation="Update"),
    )
    plan = plan_deployment(wanted, snapshot, STATE)
    assert [step.key for step in plan.steps if step.verb is Verb.DELETE] == [old]
    assert plan.kept == (claim,)


def test_objects_of_the_whole_cluster_are_pruned_only_when_the_state_has_them() -> None:
    wanted = make_layout()
    key = ObjectKey(Kind("kueue.x-k8s.io", "ResourceFlavor"), "", "gone")
    snapshot = make_snapshot(wanted, make_object(key))
    assert not [step for step in plan_deployment(wanted, snapshot, STATE).steps if step.verb is Verb.DELETE]
    known = State(cluster="yard", namespace="corral", objects=frozenset({key}))
    assert [step.key for step in plan_deployment(wanted, snapshot, known).steps if step.verb is Verb.DELETE] == [key]


def test_class_that_installations_share_is_never_pruned() -> None:
    wanted = make_layout()
    shared = ObjectKey(STORAGE_CLASS, "", "corral-local")
    plan = plan_deployment(
        wanted, make_snapshot(wanted, make_object(shared)), replace(STATE, objects=frozenset({shared}))
    )

    assert shared not in {step.key for step in plan.steps if step.verb is Verb.DELETE}
    assert plan.kept == (shared,)


def test_workloads_are_deleted_before_what_they_use() -> None:
    wanted = make_layout()
    keys = [ObjectKey(CONFIG_MAP, "corral", "old"), ObjectKey(DEPLOYMENT, "corral", "old")]
    snapshot = make_snapshot(wanted, *(make_object(key) for key in keys))
    steps = [step for step in plan_deployment(wanted, snapshot, STATE).steps if step.verb is Verb.DELETE]
    assert [step.key for step in steps] == [keys[1], keys[0]]
    assert rank_kind(DEPLOYMENT) > rank_kind(CONFIG_MAP)


def make_node(**labels: str) -> Json:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one", "labels": labels}}


def test_labels_of_a_node_are_set_and_those_of_our_domain_that_the_file_dropped_are_removed() -> None:
    wanted = make_layout()
    labels = {"corral.dev/gpu-count": "7", "workload.corral.dev/old": "true", "theirs.example.com/a": "1"}
    plan = plan_deployment(wanted, make_snapshot(wanted, make_node(**labels)), STATE)
    (step,) = [step for step in plan.steps if step.verb is Verb.LABEL]
    change = step.value["metadata"]["labels"]
    assert change["corral.dev/gpu-count"] == "1"
    assert change["workload.corral.dev/old"] is None
    assert "theirs.example.com/a" not in change
    assert plan.absent_nodes == ("two",)


def test_labels_of_the_kubelet_are_refused_with_what_is_there() -> None:
    nodes = [{"name": "one", "removedLabels": ["kubernetes.io/arch"], "gpus": [{"model": "RTX 4090"}]}]
    wanted = make_layout(nodes=nodes)
    snapshot = make_snapshot(wanted, make_node(**{"kubernetes.io/arch": "amd64"}))
    with pytest.raises(RestrictedLabelsError, match="'amd64', and the file removes it"):
        plan_deployment(wanted, snapshot, STATE)


def test_object_of_another_installation_is_not_overwritten() -> None:
    wanted = make_layout()
    (volume,) = [ObjectKey.read(value) for value in wanted.objects if value["kind"] == "PersistentVolume"]
    snapshot = make_snapshot(wanted, make_object(volume, cluster="other"))
    with pytest.raises(OthersObjectsError, match="part of the installation 'other'"):
        plan_deployment(wanted, snapshot, STATE)
    assert volume in plan_deployment(wanted, snapshot, STATE, force=True).applied


def test_replicas_that_an_autoscaler_sets_are_left_to_it() -> None:
    wanted = make_layout()
    (page,) = [value for value in wanted.objects if value["kind"] == "Deployment" and "page" in str(value["metadata"])]
    live = make_object(ObjectKey.read(page))
    live["metadata"]["managedFields"].append(
        {
            "manager": "kube-controller-manager",
            "operation": "Update",
            "subresource": "scale",
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }
    )
    steps = plan_deployment(wanted, make_snapshot(wanted, live), STATE).steps
    (step,) = [step for step in steps if step.key == ObjectKey.read(page)]
    assert "replicas" not in step.value["spec"]
    assert "replicas" in page["spec"]


def test_state_survives_writing_and_belongs_to_one_file() -> None:
    keys = frozenset({ObjectKey(DEPLOYMENT, "corral", "a"), ObjectKey(Kind("", "Namespace"), "", "corral")})
    state = State(cluster="yard", namespace="corral", layout="day", objects=keys, others={"switch": "{}"})
    assert read_state(state.write(), "yard", "corral") == state
    with pytest.raises(TakenNamespaceError, match="'yard'"):
        read_state(state.write(), "other", "corral")


def test_layout_is_named_once_when_there_are_several() -> None:
    layouts: Json = {name: {"kind": "pool", "services": {}} for name in NAMES}
    checked = check_cluster(FileText(text=cluster_text(**PARTS, layouts=layouts)))
    with pytest.raises(NoLayoutError, match="day, night"):
        choose_layout(checked, STATE, None)
    assert choose_layout(checked, State(cluster="yard", namespace="corral", layout="night"), None) == "night"
    assert choose_layout(checked, STATE, "day") == "day"
