"""A switch of layouts, decided from a snapshot alone: its way, what stops, what is made anew, what is in the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from corral.deploying.applied import extract_applied, pack_objects, unpack_objects
from corral.deploying.capacity import count_requests, parse_quantity
from corral.deploying.deletion import plan_deletion
from corral.deploying.engines import EngineService, leave_out
from corral.deploying.lock import Lock, put_lock, read_lock
from corral.deploying.objects import LayoutObjects
from corral.deploying.order import DEPLOYMENT
from corral.deploying.preflight import find_obstacles
from corral.deploying.queue_quotas import WORKLOAD
from corral.deploying.readiness import forecast_start, is_settled, list_unready
from corral.deploying.state import State, list_owned, read_state
from corral.deploying.steps import plan_deployment
from corral.deploying.storage_changes import find_storage_changes, list_reservable
from corral.deploying.switching import (
    Move,
    NothingActiveError,
    Stage,
    Switch,
    UnfinishedSwitchError,
    Way,
    check_no_switch,
    choose_way,
    plan_back,
    plan_forward,
    put_snapshot,
    put_switch,
    read_snapshot,
    read_switch,
)
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.deploying.applying import make_wanted
from corral.snapshot import ObjectKey, Snapshot
from doubles.rendered_clusters import cluster_text

Json = dict[str, Any]
PARTS: Json = {
    "kubernetes": {"namespace": "ai", "gpuMode": "devicePlugin"},
    "storage": [{"name": "models", "kind": "local", "node": "one", "path": "/srv/models", "size": "9Gi"}],
    "services": [
        {"name": "voice", "image": "registry.local/voice:1", "port": 80, "gpus": 1, "storage": ["models"]},
        {"name": "page", "kind": "nginx", "calls": ["voice"]},
    ],
    "layouts": {
        "edge": {"kind": "edge", "services": {"voice": {"node": "one", "gpus": [0], "name": "voice-edge"}}},
        "workstation": {
            "kind": "workstation",
            "services": {"voice": {"node": "one", "gpus": [0], "name": "voice-alone"}},
        },
    },
}
STATE = State(cluster="yard", namespace="ai", layout="edge")


def make_layout(layout: str, **parts: Any) -> LayoutObjects:
    return make_wanted(check_cluster(FileText(text=cluster_text(**(PARTS | parts)))), layout)


def apply(value: Json) -> Json:
    """An object as the API server has it after Corral applied it."""

    def write_fields(part: Any) -> Json:
        if isinstance(part, dict) and part:
            return {f"f:{key}": write_fields(below) for key, below in part.items()}
        return {}

    own = {key: part for key, part in value.items() if key not in ("apiVersion", "kind", "metadata")}
    own["metadata"] = {key: part for key, part in value["metadata"].items() if key not in ("name", "namespace")}
    entry = {"manager": "corral", "operation": "Apply", "fieldsV1": write_fields(own)}
    return {**value, "metadata": {**value["metadata"], "uid": "1", "managedFields": [entry]}}


def make_node(name: str, gpus: int = 1, **spec: Any) -> Json:
    labels = {"kubernetes.io/hostname": name}
    status: Json = {
        "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": str(gpus)},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": status,
    }


def observe(wanted: LayoutObjects, *others: Json) -> Snapshot:
    """The cluster with a layout applied."""
    return Snapshot.make(
        [*map(apply, wanted.objects), *others], [ObjectKey.read(value).kind for value in wanted.objects]
    )


def plan(to: LayoutObjects, snapshot: Snapshot, changed: tuple[ObjectKey, ...] = ()) -> Move:
    state = replace(STATE, objects=frozenset(snapshot.objects))
    owned = list_owned(snapshot, state, to.namespaces)
    return plan_forward(plan_deployment(to, snapshot, state), snapshot, owned, changed)


def list_names(move: Move) -> list[str]:
    return [str(ObjectKey.read(workload)) for workload in move.stopped]


def find_words(to: LayoutObjects, snapshot: Snapshot) -> list[str]:
    return [problem.what for problem in find_obstacles(to, snapshot, plan(to, snapshot))]


# ---- the state


def test_record_and_snapshot_of_a_switch_come_back_from_the_state() -> None:
    edge = make_layout("edge")
    snapshot = observe(edge)
    switch = Switch(before="edge", after="workstation", stage=Stage.FREE, begun_at="now", closed=("ai/voice-edge",))
    state = replace(STATE, objects=frozenset(snapshot.objects))
    written = put_switch(put_snapshot(state, snapshot, edge.namespaces), switch).write()
    read = read_state(written, "yard", "ai")
    assert read_switch(read) == switch
    restored = {ObjectKey.read(value): value for value in read_snapshot(read)}
    key = ObjectKey(DEPLOYMENT, "ai", "voice-edge")
    (rendered,) = [value for value in edge.objects if ObjectKey.read(value) == key]
    assert restored[key] == rendered
    assert put_switch(read, None).others == {}


def test_objects_packed_into_a_text_come_back() -> None:
    values = [{"a": "ä" * 1000}, {"b": [1, None]}]
    assert unpack_objects(pack_objects(values)) == tuple(values)
    assert len(pack_objects(values)) < 200


@pytest.mark.parametrize(
    ("switch", "asked", "back", "way"),
    [
        (None, "workstation", False, Way.BEGIN),
        (Switch(before="edge", after="workstation"), "workstation", False, Way.FORWARD),
        (Switch(before="edge", after="workstation"), "edge", False, Way.BACK),
        (Switch(before="edge", after="workstation"), "workstation", True, Way.BACK),
        (Switch(before="edge", after="workstation", is_back=True), "workstation", False, Way.BACK),
        (Switch(before="edge", after="edge"), "edge", False, Way.FORWARD),
        (Switch(before="edge", after="edge"), "edge", True, Way.BACK),
    ],
)
def test_switch_that_was_interrupted_goes_on_or_back(switch: Switch | None, asked: str, back: bool, way: Way) -> None:
    assert choose_way(put_switch(STATE, switch), asked, back=back) is way


def test_third_layout_and_an_apply_are_refused_while_a_switch_is_under_way() -> None:
    state = put_switch(STATE, Switch(before="edge", after="workstation", stage=Stage.FREE))
    with pytest.raises(UnfinishedSwitchError, match="from edge to workstation"):
        choose_way(state, "pool")
    with pytest.raises(UnfinishedSwitchError, match="at free"):
        check_no_switch(state)
    with pytest.raises(NothingActiveError):
        choose_way(State(cluster="yard", namespace="ai"), "edge")


def test_lock_is_in_the_state_and_leaves_no_trace() -> None:
    lock = Lock(command="corral apply", host="desk", machine="m", process=1, token="t")
    assert read_lock(put_lock(STATE, lock)) == lock
    assert put_lock(put_lock(STATE, lock), None) == STATE


# ---- objects as they were applied


def test_only_what_corral_applied_is_extracted_and_entries_of_lists_keep_their_keys() -> None:
    fields = {
        "f:spec": {
            "f:template": {"f:spec": {"f:containers": {'k:{"name":"web"}': {".": {}, "f:name": {}, "f:command": {}}}}},
            "f:finalizers": {'v:"mine"': {}},
        }
    }
    container = {"name": "web", "command": ["a", "b"], "terminationMessagePath": "/dev/termination-log"}
    live: Json = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "ai",
            "uid": "1",
            "managedFields": [
                {"manager": "corral", "operation": "Apply", "fieldsV1": fields},
                {"manager": "kubectl-scale", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            ],
        },
        "spec": {
            "replicas": 3,
            "finalizers": ["theirs", "mine"],
            "template": {"spec": {"containers": [{"name": "added", "image": "x"}, container], "dnsPolicy": "x"}},
        },
    }
    assert extract_applied(live) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "ai"},
        "spec": {
            "replicas": 3,
            "finalizers": ["mine"],
            "template": {"spec": {"containers": [{"name": "web", "command": ["a", "b"]}]}},
        },
    }


# ---- what stops, and what is made anew


def test_workloads_that_go_stop_first_and_others_serve_on() -> None:
    snapshot = observe(make_layout("edge"))
    move = plan(make_layout("workstation"), snapshot)
    assert list_names(move) == ["Deployment ai/voice-edge"]
    assert {str(step.key) for step in move.pruned} >= {"Deployment ai/voice-edge", "Service ai/voice-edge"}


def test_workload_with_a_gpu_whose_pods_would_be_others_stops_and_one_without_does_not() -> None:
    edge = make_layout("edge")
    changed = (ObjectKey(DEPLOYMENT, "ai", "voice-edge"), ObjectKey(DEPLOYMENT, "ai", "page"))
    assert list_names(plan(edge, observe(edge), changed)) == ["Deployment ai/voice-edge"]
    assert list_names(plan(edge, observe(edge))) == []


def test_way_back_stops_what_came_and_applies_what_was_there() -> None:
    edge, workstation = make_layout("edge"), make_layout("workstation")
    snapshot = observe(workstation)
    owned = frozenset(snapshot.objects)
    values = [extract_applied(apply(value)) for value in edge.objects if value["kind"] != "Namespace"]
    move = plan_back(values, snapshot, owned, ())
    assert list_names(move) == ["Deployment ai/voice-alone"]
    assert {str(step.key) for step in move.pruned} >= {"Deployment ai/voice-alone"}
    assert not {step.key.kind.name for step in move.pruned} & {"Namespace", "PersistentVolumeClaim"}
    assert all(step.forced for step in move.steps)


@pytest.mark.parametrize(
    ("storage", "anew"),
    [
        ({"kind": "local", "node": "one", "path": "/srv/models", "size": "9Gi"}, 0),
        ({"kind": "local", "node": "one", "path": "/srv/others", "size": "9Gi"}, 1),
        ({"kind": "nfs", "server": "nas", "path": "/models", "size": "9Gi"}, 1),
        ({"kind": "ephemeral", "size": "9Gi"}, 0),
    ],
)
def test_other_storage_makes_claims_anew_and_their_data_stays(storage: Json, anew: int) -> None:
    edge = make_layout("edge")
    bound = [apply(value) for value in edge.objects]
    for value in bound:
        if value["kind"] == "PersistentVolumeClaim":
            value["spec"] = {**value["spec"], "volumeName": "models"}
    snapshot = Snapshot.make(bound)
    other = make_layout("edge", storage=[{"name": "models", **storage}])
    changes = find_storage_changes(other.objects, snapshot)
    assert len(changes.claims) == anew
    if anew:
        assert [str(left) for left in changes.left] == ["/srv/models on one, which claim ai/models had"]
        assert list_names(plan(other, snapshot)) == ["Deployment ai/voice-edge"]


def test_volume_that_a_claim_had_is_given_to_the_claim_that_comes_again() -> None:
    layout = make_layout("edge", storage=[{"name": "models", "kind": "local", "node": "one"}])

    def make_volume(name: str, claim: str, phase: str) -> Json:
        spec = {"claimRef": {"namespace": "ai", "name": claim, "uid": "x"}, "storageClassName": "corral-local"}
        metadata = {"name": name, "creationTimestamp": name}
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": metadata,
            "spec": spec,
            "status": {"phase": phase},
        }

    snapshot = Snapshot.make(
        [
            make_volume("1", "models", "Released"),
            make_volume("2", "models", "Released"),
            make_volume("3", "models", "Failed"),
            make_volume("4", "others", "Released"),
        ]
    )
    assert [key.name for key in list_reservable(layout.objects, snapshot)] == ["2"]


# ---- obstacles


def test_layout_that_fits_has_no_obstacles() -> None:
    snapshot = observe(make_layout("edge"), make_node("one"), make_node("two"))
    assert find_words(make_layout("workstation"), snapshot) == []


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (make_node("one", gpus=0), "one has 0 nvidia.com/gpu free of 1 that it needs"),
        (make_node("one", unschedulable=True), "one is cordoned"),
        (make_node("one", taints=[{"key": "mine", "effect": "NoExecute"}]), "one has the taint mine"),
    ],
)
def test_pod_without_room_is_named_with_the_reason_of_its_node(node: Json, words: str) -> None:
    snapshot = observe(make_layout("edge"), node, make_node("two"))
    assert find_words(make_layout("workstation"), snapshot)[0] == f"no node can run voice-alone: {words}"


def make_pod(name: str, labels: Json, **spec: Any) -> Json:
    metadata = {"name": name, "namespace": "ai", "labels": labels, "uid": name}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": "one", "containers": [], **spec},
    }


def test_gpu_of_a_pod_that_stays_is_not_free_and_that_of_one_that_stops_is() -> None:
    gpu = [{"name": "a", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]
    (workload,) = [
        value
        for value in make_layout("edge").objects
        if value["metadata"]["name"] == "voice-edge" and value["kind"] == "Deployment"
    ]
    own = make_pod("voice-edge-1", workload["spec"]["selector"]["matchLabels"], containers=gpu)
    foreign = make_pod("game", {"app": "game"}, containers=gpu)
    edge, workstation = make_layout("edge"), make_layout("workstation")
    assert find_words(workstation, observe(edge, make_node("one"), make_node("two"), own)) == []
    assert find_words(workstation, observe(edge, make_node("one"), make_node("two"), own, foreign)) != []


def test_everything_that_is_in_the_way_is_listed_at_once() -> None:
    others = [
        make_node("one", gpus=0),
        make_node("two"),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "own", "namespace": "ai"},
            "data": {"URL": "http://voice-edge:80/api"},
        },
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "small", "namespace": "ai"},
            "spec": {"hard": {"pods": "0"}},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "models-at-two"},
            "spec": {
                "local": {"path": "/srv/models"},
                "nodeAffinity": {
                    "required": {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [
                                    {"key": "kubernetes.io/hostname", "operator": "In", "values": ["two"]}
                                ]
                            }
                        ]
                    }
                },
            },
        },
    ]
    storage = [{"name": "models", "kind": "local", "node": "one", "size": "9Gi"}]
    edge, workstation = (make_layout(name, storage=storage) for name in ("edge", "workstation"))
    live = [apply(value) for value in edge.objects]
    for value in live:
        if value["kind"] == "PersistentVolumeClaim":
            value["spec"] = {**value["spec"], "volumeName": "models-at-two"}
    snapshot = Snapshot.make([*live, *others], [ObjectKey.read(value).kind for value in edge.objects])
    words = "\n".join(find_words(workstation, snapshot))
    assert "no node can run voice-alone" in words
    assert "claim ai/models of voice-alone is bound to /srv/models on two, and voice-alone must run on one" in words
    assert "quota ai/small allows 0 of pods, and 1 would be used" in words
    assert "ConfigMap ai/own calls voice-edge, which the layout does not have" in words


LENT: Json = {
    "services": [{"name": "images", "engines": ["comfyui"], "image": "example.org/c:1", "gpus": 1, "lends": True}],
    "queues": [{"name": "pool", "pool": ["one"]}],
    "layouts": {
        "day": {"kind": "pool", "services": {"images": {"node": "two", "gpus": [0], "name": "by-day"}}},
        "night": {"kind": "pool", "services": {"images": {"node": "one", "gpus": [0], "name": "at-night"}}},
    },
}


def make_workload(name: str, priority: int, *, owner: str = "Job", finished: bool = False) -> Json:
    """A Workload that has the GPU of the first node."""
    assigned = {"flavors": {"nvidia.com/gpu": "yard-one"}, "resourceUsage": {"nvidia.com/gpu": "1"}}
    status: Json = {"admission": {"clusterQueue": "yard-pool", "podSetAssignments": [assigned]}}
    if finished:
        status["conditions"] = [{"type": "Finished", "status": "True"}]
    metadata = {"name": name, "namespace": "ai", "ownerReferences": [{"kind": owner, "name": name}]}
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": metadata,
        "spec": {"priority": priority},
        "status": status,
    }


def find_quota_words(*workloads: Json, **parts: Any) -> list[str]:
    day, night = (make_layout(name, **(LENT | parts)) for name in ("day", "night"))
    live = list(map(apply, day.objects))
    snapshot = Snapshot.make(
        [*live, make_node("one"), make_node("two"), *workloads],
        [*(ObjectKey.read(value).kind for value in night.objects), WORKLOAD],
    )
    obstacles = find_obstacles(night, snapshot, plan(night, snapshot))
    return [problem.what for problem in obstacles if problem.code == "switch.quota"]


def test_replica_that_kueue_would_not_admit_is_an_obstacle() -> None:
    (problem,) = find_quota_words(make_workload("training", 1000))
    lack = "flavor yard-one has 0 of 1 nvidia.com/gpu left beside training"
    assert problem == f"Kueue would not admit at-night-0: ClusterQueue yard-pool: {lack}"
    assert find_quota_words() == []
    assert find_quota_words(make_workload("training", 1000, finished=True)) == []
    assert find_quota_words(make_workload("least", 10)) == [], "what has less priority makes room"
    kept = {"kubernetes": PARTS["kubernetes"] | {"lending": {"keep": 1}}}
    assert find_quota_words(make_workload("training", 1000), **kept) == [], "a replica that is kept goes before Jobs"


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ({"kind": "ephemeral"}, "is not there, and the layout does not make it"),
        (
            {"kind": "local", "node": "one", "path": "/srv"},
            "waits for the PersistentVolume models, which is /srv on one and not ReadWriteMany",
        ),
    ],
)
def test_volume_that_nothing_makes_is_an_obstacle(before: Json, words: str) -> None:
    edge = make_layout("edge", storage=[{"name": "models", **before}])
    workstation = make_layout("workstation", storage=[{"name": "models", "kind": "nfs"}])
    (problem,) = find_words(workstation, observe(edge, make_node("one"), make_node("two")))
    assert problem == f"claim ai/models of voice-alone {words}"


@pytest.mark.parametrize(
    ("text", "thousandths"), [("100m", 100), ("2", 2000), ("1Ki", 1024_000), ("1.5G", 1500000000000)]
)
def test_quantities_are_those_of_kubernetes(text: str, thousandths: int) -> None:
    assert parse_quantity(text) == thousandths


def test_init_containers_run_before_the_others() -> None:
    def ask(cpu: str) -> Json:
        return {"resources": {"requests": {"cpu": cpu}}}

    assert count_requests({"containers": [ask("1"), ask("2")], "initContainers": [ask("5")]})["cpu"] == 5000


# ---- readiness


def make_live(generation: int = 2, **status: int) -> Json:
    (value,) = [
        value
        for value in make_layout("edge").objects
        if value["metadata"]["name"] == "page" and value["kind"] == "Deployment"
    ]
    live = apply(value)
    full = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    return {**live, "metadata": {**live["metadata"], "generation": generation}, "status": full | status}


@pytest.mark.parametrize(
    ("live", "settled"),
    [
        (make_live(), True),
        (make_live(generation=3), False),
        (make_live(readyReplicas=0), False),
        (make_live(updatedReplicas=0), False),
        (make_live(replicas=2), False),
    ],
)
def test_workload_is_settled_when_all_its_pods_are_of_its_newest_form_and_ready(live: Json, settled: bool) -> None:
    assert is_settled(live) is settled
    unready = list_unready([live], Snapshot.make([live]))
    assert (unready == ()) is settled


def test_limit_is_the_forecast_with_a_margin_and_time_for_images_that_a_node_lacks() -> None:
    edge = make_layout("edge")
    images = {"images": [{"names": ["registry.local/voice:1", "nginxinc/nginx-unprivileged:1.29.3"]}]}
    nodes = [make_node(name) for name in ("one", "two")]
    with_images = [{**node, "status": node["status"] | images} for node in nodes]
    short = forecast_start(edge.installation, Snapshot.make(with_images))
    long = forecast_start(edge.installation, Snapshot.make(nodes))
    assert 0 < short.expected_s < short.limit_s
    assert long.limit_s == short.limit_s + 1800


# ---- deletion, and the queue


def test_deletion_takes_the_labels_that_corral_put_on_nodes_unless_others_use_them() -> None:
    node = make_node("one")
    node["metadata"]["labels"] |= {"corral.dev/gpu-class": "4090", "mine": "x"}
    fields = {"f:metadata": {"f:labels": {"f:corral.dev/gpu-class": {}}}}
    node["metadata"]["managedFields"] = [{"manager": "corral", "operation": "Update", "fieldsV1": fields}]
    snapshot = observe(make_layout("edge"), node)
    (step,) = [
        step for step in plan_deletion(STATE, (), snapshot, has_others=False).steps if step.key.kind.name == "Node"
    ]
    assert step.value == {"metadata": {"labels": {"corral.dev/gpu-class": None}}}
    assert not [
        step for step in plan_deletion(STATE, (), snapshot, has_others=True).steps if step.key.kind.name == "Node"
    ]


def test_queue_loses_the_services_that_a_switch_closes() -> None:
    service = EngineService(
        engine="ollama", namespace="ai", services=frozenset({"a", "b"}), port=1, name="a", models=frozenset()
    )
    (left,) = leave_out([service], ["ai/a", "others/b"])
    assert left.services == {"b"}
