"""The Hydra installation, whole: one queue over two identical GPUs, which are lent to training and come back.

Before the upgrade's document was carried out, its own manifests had both GPUs in use for ever, so that its training was
never admitted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from control_plane.cluster import AddedNode, Cluster
from control_plane.installations import EXAMPLES, Installation, Queue
from control_plane.machines import RTX_4090, RTX_5070_TI, RTX_5090
from control_plane.plane import Plane
from control_plane.simulator.images import Image
from control_plane.stand_ins import (
    make_comfyui,
    make_corral,
    make_ollama,
    make_prometheus,
    make_server,
    write_targets,
)
from corral.kubernetes.api import open_api
from corral.operations.cluster_file import FileText
from corral.operations.rendering import RenderAsked, render_files
from doubles.comfyui_workflows import text_to_image

pytestmark = pytest.mark.timeout(900)  # a server starts in its pod, and Jobs wait for it and for each other
Json = dict[str, Any]
IMAGE_S = 4.0
TRAINING_S = 10
JOBS = "/apis/batch/v1"
read_time = datetime.fromisoformat
_IS_READY = "#!/bin/sh\nexit 0\n"
"""Stands for the programs that ask a database whether it is ready."""
_ACCELERATE = f'#!/bin/sh\necho "accelerate $*, on GPUs $NVIDIA_VISIBLE_DEVICES"; sleep {TRAINING_S}\n'
"""Stands for a training that takes its time, started as Hugging Face's launcher is."""


@pytest.fixture
def nodes(cluster: Cluster, tmp_path: Path) -> dict[str, AddedNode]:
    """The two machines of K3s, the export of the third, and the images."""
    training = Image(pattern="hydra-lora-training:*", argv=["sh"], files={"/usr/local/bin/accelerate": _ACCELERATE})
    postgres = make_server("postgres:*", 5432)
    redis = make_server("redis:*", 6379)
    for image in (
        replace(postgres, files={"/usr/bin/pg_isready": _IS_READY}),
        replace(redis, files={"/usr/bin/redis-cli": "#!/bin/sh\necho PONG\n"}),
        make_server("qdrant/qdrant:*", 6333),
        make_comfyui(seconds_per_image=IMAGE_S),
        make_corral(),
        make_ollama(),
        make_prometheus(),
        training,
    ):
        cluster.add_image(image)
    exported = tmp_path / "export"
    exported.mkdir()
    exported.chmod(0o777)
    cluster.export_folder("hydra-storage:/mnt/user/comfyui", exported)
    own = ["corral:0.1.0", "hydra-lora-training:1.0"]
    gpus = {"hydra-ai": [RTX_5090, RTX_4090], "hydra-compute": [RTX_5070_TI, RTX_5070_TI]}
    return {name: cluster.add_named_node(name, gpus=entry, images=own) for name, entry in gpus.items()}


@pytest.fixture
async def hydra(
    plane: Plane, cluster: Cluster, nodes: dict[str, AddedNode], tmp_path: Path
) -> AsyncIterator[Installation]:
    """The installation with its Prometheus, and nothing else applied yet."""
    cluster.make_namespace("ai-workloads")
    cluster.namespace = "ai-workloads"
    secret = {"kind": "Secret", "metadata": {"name": "postgresql"}}
    cluster.create("secrets", {**secret, "stringData": {"POSTGRES_PASSWORD": "test"}})
    write_targets(nodes["hydra-ai"].disk, list(nodes), others=["corral", "kueue"])
    watch_with_prometheus(cluster, nodes["hydra-ai"])
    value = yaml.safe_load((EXAMPLES / "hydra" / "cluster.yaml").read_text())
    async with open_api(kubeconfig=plane.kubeconfig) as api:
        installation = Installation(
            cluster=cluster,
            api=api,
            file=FileText(text=yaml.safe_dump(value, sort_keys=False)),
            folder=tmp_path,
            name="hydra",
            machines=tuple(nodes),
            server="corral",
        )
        yield installation
        installation.remove_shared()


def watch_with_prometheus(cluster: Cluster, node: AddedNode) -> None:
    """Run the Prometheus of the file's add-on: what the chart of Helm makes of it runs in a pod of its own."""
    container = {
        "name": "prometheus",
        "image": "prom/prometheus:v3.7.3",
        "volumeMounts": [{"name": "data", "mountPath": "/prometheus"}],
        "readinessProbe": {"httpGet": {"port": 9090, "path": "/-/ready"}, "periodSeconds": 1},
    }
    volume = {"name": "data", "hostPath": {"path": "/prometheus"}}
    pod: Json = {"nodeName": node.name, "containers": [container], "volumes": [volume]}
    cluster.create("pods", {"metadata": {"name": "prometheus", "labels": {"app": "prometheus"}}, "spec": pod})
    cluster.wait_for_pods("app=prometheus")


async def test_one_queue_keeps_two_gpus_busy_and_lends_them_without_a_lost_image(
    hydra: Installation, nodes: dict[str, AddedNode]
) -> None:
    await hydra.apply()
    assert await hydra.examine() == []
    assert await hydra.list_doubts() == []
    service = hydra.cluster.plane.ask("GET", "/api/v1/namespaces/ai-workloads/services/corral-outside")
    address = f"http://{nodes['hydra-ai'].address}:{service['spec']['ports'][0]['nodePort']}"
    async with hydra.open_queue(address) as queue:
        await wait_for_replicas(queue)
        await queue.wait_for_slots("ollama", {"hydra-ai": 1})
        await lend_both_gpus(hydra, queue)
        await lose_a_gpu(hydra, queue, nodes["hydra-compute"])


async def wait_for_replicas(queue: Queue) -> None:
    await queue.wait_for_slots("comfyui", {"hydra-compute": 2})


async def submit_images(queue: Queue, count: int) -> list[int]:
    """Submit images; those that the two replicas make first have begun."""
    tasks = [{"engine": "comfyui", "inputs": {"workflow": text_to_image(), "seed": seed}} for seed in range(count)]
    submitted = await queue.submit(*tasks)
    for task in submitted[:2]:
        await queue.wait_until(task, "running")
    return submitted


async def end_images(queue: Queue, tasks: Sequence[int]) -> list[Json]:
    """Wait for images; none failed or was lost, so none was cut off."""
    ended = await queue.finish(tasks)
    assert {(task["attempts"], task["losses"]) for task in ended} == {(0, 0)}
    return ended


async def lend_both_gpus(hydra: Installation, queue: Queue) -> None:
    """The training of the file gets both GPUs once their images are made; then both replicas come back."""
    before = await submit_images(queue, 4)
    rendered = render_files(RenderAsked(cluster=hydra.file, layouts=("pool",), only=("kubernetes",)))
    for value in yaml.safe_load_all(rendered.files["kubernetes/jobs/pool/lora-training.yaml"]):
        await hydra.api.apply(value)
    job = await asyncio.to_thread(wait_for_training, hydra.cluster)
    images = await end_images(queue, before)
    (pod,) = hydra.cluster.list_pods("job-name=lora-training")
    log = hydra.cluster.read_log(pod["metadata"]["name"])
    assert "accelerate launch --multi_gpu --num_processes 2" in log
    (status,) = pod["status"]["containerStatuses"]
    began, ended = (read_time(status["state"]["terminated"][name]) for name in ("startedAt", "finishedAt"))
    whole_s = timedelta(seconds=1)  # Kubernetes keeps times without fractions
    for image in images:
        is_before = read_time(image["finished_at"]) < began + whole_s
        assert is_before or read_time(image["started_at"]) > ended - whole_s
    # It waited for the images, and not for the whole of the two minutes that services can take.
    assert began - read_time(job["metadata"]["creationTimestamp"]) < timedelta(seconds=100)

    await wait_for_replicas(queue)
    after = await end_images(queue, await submit_images(queue, 4))
    assert len({image["slots"][0] for image in after}) == 2


def wait_for_training(cluster: Cluster) -> Json:
    """Wait until the Job has succeeded."""

    def look() -> Json | None:
        job = cluster.plane.ask("GET", f"{JOBS}/namespaces/{cluster.namespace}/jobs/lora-training")
        return job if job["status"].get("succeeded") else None

    return cluster.wait_for(look, "the end of the training")


async def lose_a_gpu(hydra: Installation, queue: Queue, node: AddedNode) -> None:
    """The device plugin marks a GPU unhealthy: doctor and verify name it, and a pod that has it goes on."""
    hydra.cluster.lose_gpu(node, 1)
    hydra.cluster.wait_for(lambda: offers_gpus(hydra.cluster, node, 1), "one GPU of two")
    causes = await hydra.wait_for_findings(("K19", f"Node {node.name}"))
    assert "1 of its 2 GPUs are unhealthy" in causes
    assert any(doubt.startswith(f"bad GPUs of {node.name}") for doubt in await hydra.list_doubts())
    await end_images(queue, await submit_images(queue, 2))
    hydra.cluster.return_gpu(node, 1)
    hydra.cluster.wait_for(lambda: offers_gpus(hydra.cluster, node, 2), "both GPUs")
    assert await hydra.examine() == []


def offers_gpus(cluster: Cluster, node: AddedNode, count: int) -> bool:
    offered = cluster.plane.ask("GET", f"/api/v1/nodes/{node.name}")["status"]["allocatable"]
    return offered.get("nvidia.com/gpu") == str(count)
