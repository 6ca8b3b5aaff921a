"""The replicas that a Job gets the GPUs of."""

from __future__ import annotations

from dataclasses import replace

from corral.engines.job.borrowing import LentReplica, Wanted, choose_replicas, count_free, list_replicas
from corral.work import Json

GPU = "nvidia.com/gpu"
ONE = Wanted(resource=GPU, per_pod=1, pods=1)


def make_replica(pod: str, *, node: str = "alpha", flavor: str = "5090", is_busy: bool = False) -> LentReplica:
    return LentReplica(pod=pod, node=node, flavor=flavor, gpus=1, is_busy=is_busy)


def make_cluster_queue(**taken: int) -> Json:
    flavors = [{"name": name, "resources": [{"name": GPU, "nominalQuota": "2"}]} for name in ("4090", "5090")]
    used = [{"name": name, "resources": [{"name": GPU, "total": str(count)}]} for name, count in taken.items()]
    return {"spec": {"resourceGroups": [{"flavors": flavors}]}, "status": {"flavorsReservation": used}}


def test_free_gpus_are_the_quota_less_what_is_reserved() -> None:
    assert count_free(make_cluster_queue(**{"5090": 2}), GPU) == {"4090": 2, "5090": 0}
    assert count_free({"spec": {}}, GPU) == {}


def test_no_replica_is_emptied_where_gpus_are_free() -> None:
    assert choose_replicas([make_replica("a")], {"4090": 1, "5090": 0}, ONE) == ()


def test_an_idle_replica_is_chosen_before_one_that_works() -> None:
    replicas = [make_replica("a", is_busy=True), make_replica("b")]
    assert choose_replicas(replicas, {"5090": 0}, ONE) == (replicas[1],)


def test_as_many_replicas_are_chosen_as_are_missing_and_of_one_flavour() -> None:
    replicas = [make_replica("a", flavor="4090"), make_replica("b"), make_replica("c")]
    two = replace(ONE, pods=2)
    assert choose_replicas(replicas, {"4090": 0, "5090": 0}, two) == (replicas[1], replicas[2])
    assert choose_replicas(replicas, {"4090": 1, "5090": 0}, two) == (replicas[0],)
    assert choose_replicas(replicas[:1], {"4090": 0, "5090": 0}, two) is None


def test_a_pod_with_several_gpus_gets_those_of_one_node() -> None:
    nodes = {"a": "alpha", "b": "beta", "c": "beta"}
    replicas = [make_replica(pod, node=node, is_busy=pod == "c") for pod, node in nodes.items()]
    chosen = choose_replicas(replicas, {"5090": 0}, replace(ONE, per_pod=2))
    assert chosen is not None
    assert {replica.pod for replica in chosen} == {"b", "c"}


def test_replicas_are_the_pods_that_the_cluster_queue_admitted_and_that_stay() -> None:
    def make_pod(name: str, **metadata: Json) -> Json:
        labels = {"corral.dev/replica": "0"}
        return {"metadata": {"name": name, "labels": labels, **metadata}, "spec": {"nodeName": "alpha"}}

    def make_workload(pod: str, queue: str = "pool") -> Json:
        assigned = {"flavors": {GPU: "5090"}, "resourceUsage": {GPU: "1"}}
        admission = {"clusterQueue": queue, "podSetAssignments": [assigned]}
        return {
            "metadata": {"ownerReferences": [{"kind": "Pod", "name": pod}]},
            "status": {"admission": admission},
        }

    pods = [
        make_pod("there"),
        make_pod("ending", deletionTimestamp="2026-01-01T00:00:00Z"),
        make_pod("other"),
        make_pod("waiting"),
        make_pod("alone", labels={}),
    ]
    workloads = [*map(make_workload, ("there", "ending", "alone")), make_workload("other", "elsewhere")]
    replicas = list_replicas(pods, workloads, "pool", GPU, lambda pod: pod == "there")
    assert replicas == (make_replica("there", is_busy=True),)
