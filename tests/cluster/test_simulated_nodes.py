"""Simulated nodes have GPUs that the real scheduler allocates, and faults that the real controllers notice."""

from __future__ import annotations

from typing import Any

from control_plane.cluster import Cluster
from control_plane.machines import RTX_4090, RTX_5090
from control_plane.simulator.images import Image

Json = Any
SHELL = Image(pattern="busybox", argv=["sh"])
KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
RESOURCES = "/apis/resource.k8s.io/v1"
SHOW = "echo $NVIDIA_VISIBLE_DEVICES; exec sleep 600"


def make_deployment(name: str, replicas: int, container: Json, **spec: Any) -> Json:
    """Make a Deployment of pods that end at once when they are asked to."""
    labels = {"app": name}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 1, **spec}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


def make_container(script: str, resources: Json) -> Json:
    """Make a container that runs a shell script."""
    return {"name": "work", "image": "busybox", "command": ["sh", "-c", script], "resources": resources}


def wait_for_line(cluster: Cluster, pod: str) -> str:
    """Wait for the first line that a pod writes."""
    return cluster.wait_for(lambda: cluster.read_log(pod), f"a line of {pod}").splitlines()[0]


def test_replicas_get_gpus_of_two_nodes_and_the_third_waits(cluster: Cluster) -> None:
    cluster.add_image(SHELL)
    cluster.add_node("alpha", gpus=[RTX_5090])
    cluster.add_node("beta", gpus=[RTX_4090])
    container = make_container(SHOW, {"limits": {"nvidia.com/gpu": 1}})
    cluster.create("deployments", make_deployment("trained", 3, container), "/apis/apps/v1")

    def look() -> list[Json] | None:
        pods = [pod for pod in cluster.list_pods("app=trained") if pod["status"]["phase"] == "Running"]
        return pods if len(pods) == 2 else None

    running = cluster.wait_for(look, "two running replicas")
    assert len({pod["spec"]["nodeName"] for pod in running}) == 2
    assert len({wait_for_line(cluster, pod["metadata"]["name"]) for pod in running}) == 2
    (waiting,) = (pod["metadata"]["name"] for pod in cluster.list_pods("app=trained") if pod not in running)
    assert cluster.wait_for_event(waiting, "FailedScheduling", "Insufficient nvidia.com/gpu")


def test_a_claim_is_allocated_by_memory_and_a_taint_of_its_gpu_evicts(cluster: Cluster) -> None:
    cluster.add_image(SHELL)
    node = cluster.add_node("alpha", gpus=[RTX_4090, RTX_5090], gpu_mode="dra")
    large = "device.capacity['gpu.nvidia.com'].memory.compareTo(quantity('30Gi')) >= 0"
    request = {"deviceClassName": "gpu.nvidia.com", "selectors": [{"cel": {"expression": large}}]}
    template = {"spec": {"devices": {"requests": [{"name": "gpu", "exactly": request}]}}}
    cluster.create("resourceclaimtemplates", {"metadata": {"name": "large"}, "spec": template}, RESOURCES)
    container = make_container(SHOW, {"claims": [{"name": "gpu"}]})
    claims = [{"name": "gpu", "resourceClaimTemplateName": "large"}]
    deployment = make_deployment("claimed", 1, container, resourceClaims=claims)
    cluster.create("deployments", deployment, "/apis/apps/v1")
    (pod,) = cluster.wait_for_pods("app=claimed")
    published = cluster.plane.ask("GET", f"{RESOURCES}/resourceslices/{node.name}-gpu.nvidia.com")
    uuid = published["spec"]["devices"][1]["attributes"]["uuid"]["string"]
    assert wait_for_line(cluster, pod["metadata"]["name"]) == uuid

    cluster.lose_gpu(node, 1)

    def look() -> Json:
        pods = cluster.list_pods("app=claimed")
        return pods if len(pods) == 1 and pods[0]["metadata"]["name"] != pod["metadata"]["name"] else None

    (replacement,) = cluster.wait_for(look, "another pod in its place")
    cluster.wait_for_event(replacement["metadata"]["name"], "FailedScheduling")
    cluster.return_gpu(node, 1)
    cluster.wait_for_pods("app=claimed")


def test_a_lost_node_is_noticed_and_its_pods_run_elsewhere(cluster: Cluster) -> None:
    cluster.add_image(SHELL)
    nodes = {node.name: node for node in (cluster.add_node("alpha"), cluster.add_node("beta"))}
    cluster.create("deployments", make_deployment("moved", 1, make_container("exec sleep 600", {})), "/apis/apps/v1")
    (pod,) = cluster.wait_for_pods("app=moved")
    lost = nodes[pod["spec"]["nodeName"]]
    cluster.lose_node(lost)

    def look() -> Json:
        pods = [value for value in cluster.list_pods("app=moved") if "deletionTimestamp" not in value["metadata"]]
        moved = [value for value in pods if value["spec"].get("nodeName") != lost.name]
        return moved if moved and moved[0]["status"]["phase"] == "Running" else None

    cluster.wait_for(look, "a replica on the other node")
    conditions = cluster.plane.ask("GET", f"/api/v1/nodes/{lost.name}")["status"]["conditions"]
    assert {entry["status"] for entry in conditions if entry["type"] == "Ready"} == {"Unknown"}
    cluster.return_node(lost)
    cluster.wait_for_pods("app=moved")


def test_a_job_of_kueue_runs_on_the_gpu_of_its_flavor_and_its_log_is_readable(cluster: Cluster) -> None:
    cluster.add_image(SHELL)
    cluster.add_node("alpha", gpus=[RTX_5090], labels={"pool": cluster.name})
    cluster.add_node("beta", gpus=[RTX_4090])
    pool = {"nodeLabels": {"pool": cluster.name}}
    with cluster.lend_object(KUEUE, "resourceflavors", "ResourceFlavor", pool) as name:
        quota = {"name": "nvidia.com/gpu", "nominalQuota": 1}
        group = {"coveredResources": ["nvidia.com/gpu"], "flavors": [{"name": name, "resources": [quota]}]}
        spec: Json = {"namespaceSelector": {}, "resourceGroups": [group]}
        with cluster.lend_object(KUEUE, "clusterqueues", "ClusterQueue", spec) as queue:
            local: Json = {"kind": "LocalQueue", "metadata": {"name": "queue"}, "spec": {"clusterQueue": queue}}
            cluster.create("localqueues", local, KUEUE)
            container = make_container("echo trained on $NVIDIA_VISIBLE_DEVICES", {"limits": {"nvidia.com/gpu": 1}})
            job = {
                "metadata": {"name": "training", "labels": {"kueue.x-k8s.io/queue-name": "queue"}},
                "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
            }
            cluster.create("jobs", job, "/apis/batch/v1")

            def look() -> bool:
                value = cluster.plane.ask("GET", f"/apis/batch/v1/namespaces/{cluster.namespace}/jobs/training")
                return value["status"].get("succeeded") == 1

            cluster.wait_for(look, "the end of the job")
            (pod,) = cluster.list_pods("job-name=training")
            assert pod["spec"]["nodeName"].startswith("alpha")
            assert cluster.read_log(pod["metadata"]["name"]).startswith("trained on GPU-")
