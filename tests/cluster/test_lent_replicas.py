"""GPUs of services are lent to Jobs through a real Kueue, and no image is lost by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.client import PatientClient, wait_for_start
from chaos.kept import Kept
from control_plane.cluster import AddedNode, Cluster
from control_plane.machines import RTX_4090
from control_plane.serving import keep_server
from control_plane.stand_ins import make_comfyui, make_shell
from corral.kubernetes.api import open_api
from corral.operations.cluster_file import FileText
from corral.operations.deploying.applying import apply_layout, observe_target
from doubles.comfyui_workflows import text_to_image
from doubles.short_folders import lend_short_folder

pytestmark = pytest.mark.timeout(900)  # a server starts, and Jobs wait for it and for each other
IMAGE_S = 6.0
REPLICAS = "app.kubernetes.io/name=comfyui"
TRAINING_S = 15
JOBS = "/apis/batch/v1"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with lend_short_folder() as folder:
        yield folder


@pytest.fixture
def node(cluster: Cluster) -> AddedNode:
    """A node with two GPUs, a ComfyUI that takes its time, and a shell for Jobs."""
    cluster.add_image(make_comfyui(seconds_per_image=IMAGE_S))
    cluster.add_image(make_shell())
    return cluster.add_node("alpha", gpus=[RTX_4090, RTX_4090])


def write_file(cluster: Cluster, node: AddedNode, **lending: Any) -> FileText:
    service = {
        "name": "comfyui",
        "engines": ["comfyui"],
        "image": "yanwk/comfyui-boot:cu128-slim",
        "replicas": 2,
        "gpus": 1,
        "gpuMemory": "10Gi",
        "node": node.name,
        "lends": True,
    }
    job = {"instances": [{"name": "pool", "url": f"kueue://{cluster.namespace}/pool"}]}
    value: dict[str, Any] = {
        "apiVersion": "corral/v1",
        "name": cluster.name,
        "kubernetes": {"namespace": cluster.namespace, "gpuMode": "devicePlugin", "lending": lending},
        "nodes": [{"name": node.name, "address": node.address, "gpus": [{"model": "RTX 4090"}] * 2}],
        "services": [service],
        "engines": {"comfyui": {}, "job": job},
        "queues": [{"name": "pool", "pool": [node.name]}],
    }
    return FileText(text=yaml.safe_dump(value))


@pytest.fixture
def lending() -> dict[str, Any]:
    """The settings of lending in the file."""
    return {"finish": "60s"}


@pytest.fixture
async def server(cluster: Cluster, node: AddedNode, short_folder: Path, lending: dict[str, Any]) -> AsyncIterator[Kept]:
    """A server that finds two replicas of ComfyUI on the cluster."""
    file = write_file(cluster, node, **lending)
    async with open_api(kubeconfig=cluster.plane.kubeconfig) as api:
        await apply_layout(api, await observe_target(api, file, None))
    cluster.wait_for_pods(REPLICAS, 2)
    async with keep_server(cluster, file, short_folder) as kept:
        yield kept


@pytest.fixture
async def client(server: Kept, short_folder: Path) -> AsyncIterator[PatientClient]:
    async with PatientClient(short_folder / "data") as client:
        await wait_for_start(short_folder / "data")
        await client.leading()
        await wait_for_slots(client, 2)
        yield client


async def wait_for_slots(client: PatientClient, count: int) -> None:
    """Wait until so many replicas take tasks."""
    async with asyncio.timeout(180):
        while True:
            slots = [slot for slot in (await client.get("/corral/v1/slots"))["items"] if slot["engine"] == "comfyui"]
            if len(slots) == count and all(slot["gate"] == "open" for slot in slots):
                return
            await asyncio.sleep(0.3)


async def submit_images(client: PatientClient, count: int) -> list[int]:
    tasks = [{"engine": "comfyui", "inputs": {"workflow": text_to_image(), "seed": seed}} for seed in range(count)]
    accepted = await client.post("/corral/v1/batches", {"name": "images", "tasks": tasks})
    return [task["id"] for task in accepted["tasks"]]


async def wait_until(client: PatientClient, task: int, *states: str) -> dict[str, Any]:
    async with asyncio.timeout(240):
        while True:
            answer = await client.get(f"/corral/v1/tasks/{task}")
            if answer["state"] in states:
                return answer
            await asyncio.sleep(0.2)


async def end_images(client: PatientClient, tasks: list[int]) -> list[dict[str, Any]]:
    """Wait for images; none failed or was lost, so none was cut off."""
    ended = [await wait_until(client, task, "succeeded", "failed", "cancelled") for task in tasks]
    assert [(task["state"], task["attempts"], task["losses"]) for task in ended] == [("succeeded", 0, 0)] * len(tasks)
    return ended


def make_job(cluster: Cluster, *, gpus: int = 1, seconds: int = TRAINING_S) -> dict[str, Any]:
    """A Job of somebody else, in the rendered queue and with the priority of rendered Jobs."""
    labels = {"kueue.x-k8s.io/queue-name": "pool", "kueue.x-k8s.io/priority-class": "corral-batch"}
    container = {
        "name": "work",
        "image": "busybox",
        "command": ["sleep", str(seconds)],
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)}, "requests": {"cpu": "1", "memory": "64Mi"}},
    }
    pod = {"restartPolicy": "Never", "containers": [container]}
    spec = {"suspend": True, "backoffLimit": 0, "template": {"spec": pod}}
    value = {"metadata": {"name": "training", "labels": labels}, "spec": spec}
    return cluster.create("jobs", value, JOBS)


def wait_for_job(cluster: Cluster) -> dict[str, Any]:
    """Wait until that Job has succeeded."""
    path = f"{JOBS}/namespaces/{cluster.namespace}/jobs/training"

    def look() -> dict[str, Any] | None:
        job = cluster.plane.ask("GET", path)
        return job if job["status"].get("succeeded") else None

    return cluster.wait_for(look, "the end of the Job")


async def test_a_job_of_the_queue_gets_the_gpu_of_an_emptied_replica_while_the_other_makes_images(
    cluster: Cluster, client: PatientClient
) -> None:
    before = await submit_images(client, 6)
    for task in before[:2]:
        await wait_until(client, task, "running")
    inputs = {
        "image": "busybox",
        "command": ["sh", "-c", f"sleep {TRAINING_S}"],
        "gpus": 1,
        "memory": "64Mi",
        "shared_memory": "8Mi",
    }
    accepted = await client.post("/corral/v1/batches", {"name": "job", "tasks": [{"engine": "job", "inputs": inputs}]})
    (job,) = (task["id"] for task in accepted["tasks"])

    images = await end_images(client, before)
    ended = await wait_until(client, job, "succeeded", "failed")
    assert (ended["state"], ended["losses"]) == ("succeeded", 0), ended["error"]
    assert any(ended["started_at"] < image["started_at"] < ended["finished_at"] for image in images)

    await wait_for_slots(client, 2)
    after = await end_images(client, await submit_images(client, 4))
    assert len({image["slots"][0] for image in after}) == 2


async def test_a_replica_that_kueue_ends_for_a_job_of_others_finishes_its_image_first(
    cluster: Cluster, client: PatientClient
) -> None:
    before = await submit_images(client, 6)
    for task in before[:2]:
        await wait_until(client, task, "running")
    await asyncio.to_thread(make_job, cluster)

    images = await end_images(client, before)
    job = await asyncio.to_thread(wait_for_job, cluster)
    # It waited for the image, and not for the whole of the time that the file gives.
    started_at = datetime.fromisoformat(job["status"]["startTime"])
    assert started_at - datetime.fromisoformat(job["metadata"]["creationTimestamp"]) < timedelta(seconds=45)
    assert any(started_at < datetime.fromisoformat(image["started_at"]) for image in images)

    await wait_for_slots(client, 2)
    after = await end_images(client, await submit_images(client, 4))
    assert len({image["slots"][0] for image in after}) == 2
