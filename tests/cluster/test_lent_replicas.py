"""A server on a real cluster and Kueue, with its own account: GPUs of services are lent, and no image is lost by it.

They are lent to Jobs of its queue, whose files come back over HTTP, and to Jobs of others; a service on demand runs
beside them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from chaos.client import PatientClient, wait_for_start
from control_plane.accounts import ask_token, list_granted, read_roles
from control_plane.cluster import AddedNode, Cluster
from control_plane.machines import RTX_4090
from control_plane.recording import Recorder
from control_plane.serving import find_free_port, find_host, keep_server
from control_plane.stand_ins import make_comfyui, make_corral, make_ollama, make_server, make_shell
from corral.data_dir import find_server
from corral.engines.job.inputs import DELIVERY_IMAGE
from corral.kubernetes.api import open_api
from corral.operations.cluster_file import FileText
from corral.operations.deploying.applying import apply_layout, observe_target
from doubles.comfyui_workflows import text_to_image
from doubles.nvml_library import build_library, machine
from doubles.short_folders import lend_short_folder

pytestmark = pytest.mark.timeout(900)  # a server starts, and Jobs wait for it and for each other
IMAGE_S = 4.0
TRAINING_S = 8
MODEL = "llama3.2:1b"
REPLICAS = "app.kubernetes.io/name=comfyui"
JOBS = "/apis/batch/v1"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with lend_short_folder() as folder:
        yield folder


@pytest.fixture
def nodes(cluster: Cluster, tmp_path: Path) -> Iterator[tuple[AddedNode, AddedNode]]:
    """A node with two GPUs that are lent, and one with a GPU for the service on demand."""
    cluster.add_image(make_comfyui(seconds_per_image=IMAGE_S))
    cluster.add_image(make_ollama())
    cluster.add_image(make_shell())
    cluster.add_image(make_shell(DELIVERY_IMAGE))
    cluster.add_image(make_server("corral:*", 7433))
    library = machine(build_library(tmp_path), "twins") | {"CORRAL_TEST_NVML_LOAD": "steady"}
    cluster.add_image(replace(make_corral("burn-in:*"), environment=library))
    yield cluster.add_node("alpha", gpus=[RTX_4090, RTX_4090]), cluster.add_node("beta", gpus=[RTX_4090])
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    for path in (f"{rbac}/clusterrolebindings", f"{rbac}/clusterroles"):
        cluster.plane.ask("DELETE", f"{path}?labelSelector=app.kubernetes.io/part-of={cluster.name}")


def write_file(cluster: Cluster, nodes: tuple[AddedNode, AddedNode], url: str) -> FileText:
    alpha, beta = nodes
    comfyui = {
        "name": "comfyui",
        "engines": ["comfyui"],
        "image": "yanwk/comfyui-boot:cu128-slim",
        "replicas": 2,
        "gpus": 1,
        "gpuMemory": "10Gi",
        "lends": True,
    }
    chat = {"name": "chat", "engines": ["ollama"], "gpus": 1, "gpuMemory": "10Gi", "models": [MODEL], "idle": "2s"}
    job = {"instances": [{"name": "pool", "url": f"kueue://{cluster.namespace}/pool"}], "options": {"serverUrl": url}}
    value: dict[str, Any] = {
        "apiVersion": "corral/v1",
        "name": cluster.name,
        "kubernetes": {
            "namespace": cluster.namespace,
            "gpuMode": "devicePlugin",
            "lending": {"finish": "60s", "wait": "5s"},
        },
        "nodes": [
            {"name": alpha.name, "address": alpha.address, "gpus": [{"model": "RTX 4090"}] * 2},
            {"name": beta.name, "address": beta.address, "gpus": [{"model": "RTX 4090"}]},
        ],
        "storage": [{"name": name, "kind": "ephemeral", "size": "1Gi"} for name in ("own", "models")],
        "services": [
            comfyui,
            {**chat, "node": beta.name, "lends": False, "storage": ["models"]},
            {"name": "corral", "kind": "corral", "storage": ["own"]},
        ],
        "layouts": {"day": {"kind": "pool", "services": {"comfyui": {"node": alpha.name}}}},
        "engines": {"comfyui": {}, "job": job},
        "queues": [{"name": "pool", "pool": [alpha.name]}],
        "scheduling": {"guestWait": "2m"},
    }
    return FileText(text=yaml.safe_dump(value))


@dataclass(frozen=True, kw_only=True)
class Yard:
    """A server that finds two replicas of ComfyUI on the cluster, and has the rights that are rendered for it."""

    cluster: Cluster
    nodes: tuple[AddedNode, AddedNode]
    client: PatientClient
    recorder: Recorder
    data_dir: Path

    async def wait_for_slots(self, engine: str, count: int) -> None:
        """Wait until so many pods take tasks of an engine, and no other is there."""
        async with asyncio.timeout(180):
            while True:
                slots = (await self.client.get("/corral/v1/slots"))["items"]
                gates = [slot["gate"] for slot in slots if slot["engine"] == engine]
                if gates == ["open"] * count:
                    return
                await asyncio.sleep(0.3)

    async def submit(self, *tasks: dict[str, Any]) -> list[int]:
        accepted = await self.client.post("/corral/v1/batches", {"name": "yard", "tasks": list(tasks)})
        return [task["id"] for task in accepted["tasks"]]

    async def submit_images(self, count: int) -> list[int]:
        return await self.submit(
            *({"engine": "comfyui", "inputs": {"workflow": text_to_image(), "seed": seed}} for seed in range(count))
        )

    async def wait_until(self, task: int, *states: str) -> dict[str, Any]:
        async with asyncio.timeout(240):
            while True:
                answer = await self.client.get(f"/corral/v1/tasks/{task}")
                if answer["state"] in states:
                    return answer
                await asyncio.sleep(0.2)

    async def end_images(self, tasks: list[int]) -> list[dict[str, Any]]:
        """Wait for images; none failed or was lost, so none was cut off."""
        ended = [await self.wait_until(task, "succeeded", "failed", "cancelled") for task in tasks]
        assert [(task["state"], task["attempts"], task["losses"]) for task in ended] == [("succeeded", 0, 0)] * len(
            tasks
        )
        return ended

    async def begin_images(self, count: int) -> list[int]:
        """Submit images, and wait until both replicas make one."""
        tasks = await self.submit_images(count)
        for task in tasks[:2]:
            await self.wait_until(task, "running")
        return tasks

    def make_job(self, name: str, *, gpus: int = 1, seconds: int = TRAINING_S) -> None:
        """Make a Job of somebody else, in the rendered queue and with the priority of rendered Jobs."""
        labels = {"kueue.x-k8s.io/queue-name": "pool", "kueue.x-k8s.io/priority-class": "corral-batch"}
        container = {
            "name": "work",
            "image": "busybox",
            "command": ["sleep", str(seconds)],
            "resources": {"limits": {"nvidia.com/gpu": str(gpus)}, "requests": {"cpu": "1", "memory": "64Mi"}},
        }
        pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
        spec = {"suspend": True, "backoffLimit": 0, "template": {"spec": pod}}
        self.cluster.create("jobs", {"metadata": {"name": name, "labels": labels}, "spec": spec}, JOBS)

    def read_job(self, name: str) -> dict[str, Any]:
        return self.cluster.plane.ask("GET", f"{JOBS}/namespaces/{self.cluster.namespace}/jobs/{name}")

    async def wait_for_job(self, name: str, field: str) -> dict[str, Any]:
        """Wait until the status of a Job of others has a field: `active`, `succeeded`."""

        def look() -> dict[str, Any] | None:
            job = self.read_job(name)
            return job if job["status"].get(field) else None

        return await asyncio.to_thread(self.cluster.wait_for, look, f"{field} Job {name}")


@pytest.fixture
async def yard(
    cluster: Cluster, nodes: tuple[AddedNode, AddedNode], short_folder: Path, tmp_path: Path
) -> AsyncIterator[Yard]:
    host = find_host(cluster)
    port = find_free_port(host)
    file = write_file(cluster, nodes, f"http://{host}:{port}")
    async with open_api(kubeconfig=cluster.plane.kubeconfig) as api:
        await apply_layout(api, await observe_target(api, file, None))
    data_dir, options = short_folder / "data", ("--host", host, "--port", str(port))
    async with (
        Recorder(cluster.plane, ask_token(cluster, "corral")) as recorder,
        keep_server(cluster, file, short_folder, *options, kubeconfig=recorder.write_kubeconfig(tmp_path)),
        PatientClient(data_dir) as client,
    ):
        await wait_for_start(data_dir)
        await client.leading()
        yard = Yard(cluster=cluster, nodes=nodes, client=client, recorder=recorder, data_dir=data_dir)
        await yard.wait_for_slots("comfyui", 2)
        yield yard


async def lend_to_a_job_of_the_queue(yard: Yard) -> None:
    """A burn-in gets the GPU of an emptied replica on its node; the other makes images, and the report comes back."""
    before = await yard.begin_images(8)
    words = ["loadtest", "--gpu", "1", "--duration", "4s", "--load", "sleep 20", "--report"]
    inputs = {
        "image": "burn-in:1",
        "node": yard.nodes[0].name,
        "gpus": 1,
        "args": [*words, "/corral/outputs/burn-in.md"],
        "env": {"CORRAL_DATA_DIR": "/tmp/burn-in"},
        "memory": "64Mi",
        "shared_memory": "8Mi",
        "outputs": ["burn-in*"],
    }
    (job,) = await yard.submit({"engine": "job", "inputs": inputs})
    images = await yard.end_images(before)
    ended = await yard.wait_until(job, "succeeded", "failed")
    assert (ended["state"], ended["losses"]) == ("succeeded", 0), ended["error"]
    times = [image["started_at"] for image in images]
    assert any(ended["started_at"] < begun < ended["finished_at"] for begun in times), (ended, times)
    assert {"log.txt", "burn-in.md", "burn-in-power.svg"} <= {output["name"] for output in ended["outputs"]}
    for name in ("log.txt", "burn-in.md"):
        assert "pass" in await read_output(yard, job, name)
    await yard.wait_for_slots("comfyui", 2)


async def read_output(yard: Yard, task: int, name: str) -> str:
    status, text = await ask_server(yard, "GET", f"/corral/v1/tasks/{task}/outputs/{name}")
    assert status == 200, text
    return text


async def ask_server(yard: Yard, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """Ask the server once, and wait for as long as it takes."""
    server = find_server(yard.data_dir)
    assert server is not None
    headers = {"Authorization": f"Bearer {server.token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, server.url + path, json=body) as answer,
    ):
        return answer.status, await answer.text()


async def lend_to_a_job_of_others(yard: Yard) -> None:
    """A replica that Kueue ends at once finishes its image first, and comes back."""
    before = await yard.begin_images(4)
    await asyncio.to_thread(yard.make_job, "training")
    images = await yard.end_images(before)
    job = await yard.wait_for_job("training", "succeeded")
    # It waited for the image, and not for the whole of the time that the file gives.
    started_at = datetime.fromisoformat(job["status"]["startTime"])
    assert started_at - datetime.fromisoformat(job["metadata"]["creationTimestamp"]) < timedelta(seconds=45)
    assert any(started_at < datetime.fromisoformat(image["started_at"]) for image in images)
    await yard.wait_for_slots("comfyui", 2)
    after = await yard.end_images(await yard.submit_images(4))
    assert len({image["slots"][0] for image in after}) == 2


async def take_a_gpu_back(yard: Yard) -> None:
    """An image waits no longer than the bound of the file for a Job that has every GPU."""
    await asyncio.to_thread(yard.make_job, "long", gpus=2, seconds=600)
    await yard.wait_for_job("long", "active")
    await yard.end_images(await yard.submit_images(1))
    assert (await asyncio.to_thread(yard.read_job, "long"))["spec"]["suspend"]


async def start_on_demand(yard: Yard) -> None:
    """A service is started by a guest, stopped when nothing uses it, and started again by a task."""
    selector = "app.kubernetes.io/name=chat"
    assert yard.cluster.list_pods(selector) == []
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "one two"}], "stream": False}
    status, text = await ask_server(yard, "POST", "/api/chat", asked)
    assert status == 200, text
    await asyncio.to_thread(yard.cluster.wait_for, lambda: not yard.cluster.list_pods(selector), "its end")
    (task,) = await yard.submit({"engine": "ollama", "model": MODEL, "inputs": {"prompt": "one two"}})
    ended = await yard.wait_until(task, "succeeded", "failed")
    assert ended["state"] == "succeeded", ended["error"]


async def cancel_a_gang(yard: Yard) -> None:
    inputs = {"image": "busybox", "command": ["sleep", "600"], "gpus": 0, "pods": 2, "memory": "64Mi"}
    (gang,) = await yard.submit({"engine": "job", "inputs": inputs})
    await yard.wait_until(gang, "running")
    selector = f"corral/task={gang}"
    await asyncio.to_thread(yard.cluster.wait_for, lambda: len(yard.cluster.list_pods(selector)) == 2, "its pods")
    await yard.client.post(f"/corral/v1/tasks/{gang}/cancel", {})
    await yard.wait_until(gang, "cancelled")


async def lend(yard: Yard) -> None:
    await lend_to_a_job_of_the_queue(yard)
    await lend_to_a_job_of_others(yard)
    await take_a_gpu_back(yard)


async def test_gpus_are_lent_and_services_started_on_demand_with_each_right_of_the_server_and_no_other(
    yard: Yard,
) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(lend(yard))
        group.create_task(start_on_demand(yard))
        group.create_task(cancel_a_gang(yard))
    assert (yard.recorder.refused, set(yard.recorder.rights)) == (set(), list_granted(read_roles(yard.cluster)))
