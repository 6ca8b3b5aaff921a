"""A server finds its engines on the cluster: pods become slots, come and go with it, and do its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.client import PatientClient
from chaos.kept import Kept
from control_plane.cluster import AddedNode, Cluster
from control_plane.machines import RTX_4090
from control_plane.serving import keep_server
from control_plane.stand_ins import make_ollama
from corral.kubernetes.api import open_api
from corral.operations.cluster_file import FileText
from corral.operations.deploying.applying import apply_layout, observe_target
from doubles.short_folders import lend_short_folder

ENGINE = "ollama"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with lend_short_folder() as folder:
        yield folder


@pytest.fixture
def nodes(cluster: Cluster) -> tuple[AddedNode, AddedNode]:
    """Two nodes with a GPU each, and what Ollama's image stands for: the double of Ollama, slow enough to be lost."""
    cluster.add_image(make_ollama(seconds_per_token=0.3))
    return cluster.add_node("alpha", gpus=[RTX_4090]), cluster.add_node("beta", gpus=[RTX_4090])


def write_file(cluster: Cluster, nodes: tuple[AddedNode, ...], replicas: int) -> FileText:
    service = {
        "name": ENGINE,
        "engines": [ENGINE],
        "replicas": replicas,
        "gpus": 1,
        "gpuMemory": "20Gi",
        "models": ["llama3.2:1b"],
        "storage": ["models"],
    }
    value: dict[str, Any] = {
        "apiVersion": "corral/v1",
        "name": cluster.name,
        "kubernetes": {"namespace": cluster.namespace, "gpuMode": "devicePlugin"},
        "nodes": [{"name": node.name, "address": node.address, "gpus": [{"model": "RTX 4090"}]} for node in nodes],
        "storage": [{"name": "models", "kind": "ephemeral", "size": "1Gi"}],
        "services": [service],
    }
    return FileText(text=yaml.safe_dump(value))


async def apply(cluster: Cluster, file: FileText) -> None:
    async with open_api(kubeconfig=cluster.plane.kubeconfig) as api:
        await apply_layout(api, await observe_target(api, file, None))


@pytest.fixture
async def server(cluster: Cluster, nodes: tuple[AddedNode, ...], short_folder: Path) -> AsyncIterator[Kept]:
    """A server that follows a cluster file without instances, and reaches the cluster as kubectl does."""
    file = write_file(cluster, nodes, 2)
    await apply(cluster, file)
    cluster.wait_for_pods("app.kubernetes.io/name=ollama", 2)
    async with keep_server(cluster, file, short_folder) as kept:
        yield kept


@pytest.fixture
async def client(server: Kept, short_folder: Path) -> AsyncIterator[PatientClient]:
    async with PatientClient(short_folder / "data") as client:
        await client.leading()
        yield client


async def wait_for_slots(client: PatientClient, count: int) -> list[dict[str, Any]]:
    """Wait until so many pods are slots that take tasks."""
    async with asyncio.timeout(90):
        while True:
            listed = (await client.get("/corral/v1/slots"))["items"]
            slots = [slot for slot in listed if slot["engine"] == ENGINE and slot["gate"] == "open"]
            if len(slots) == count and all(slot["engine"] != ENGINE or slot in slots for slot in listed):
                return slots
            await asyncio.sleep(0.3)


async def submit(client: PatientClient, count: int) -> list[int]:
    task = {
        "engine": ENGINE,
        "model": "llama3.2:1b",
        "inputs": {"prompt": "one two three", "options": {"num_predict": 8}},
    }
    accepted = await client.post("/corral/v1/batches", {"name": "words", "tasks": [task] * count})
    return [task["id"] for task in accepted["tasks"]]


async def wait_for_end(client: PatientClient, tasks: list[int]) -> list[dict[str, Any]]:
    ended: list[dict[str, Any]] = []
    async with asyncio.timeout(100):
        for task in tasks:
            while True:
                answer = await client.get(f"/corral/v1/tasks/{task}/wait?timeout=20")
                if answer["state"] in ("succeeded", "failed", "cancelled"):
                    break
            ended.append(answer)
    return ended


async def test_pods_become_slots_do_tasks_and_come_and_go_with_their_nodes(
    cluster: Cluster, nodes: tuple[AddedNode, AddedNode], client: PatientClient
) -> None:
    slots = await wait_for_slots(client, 2)
    assert {slot["node"] for slot in slots} == {node.name for node in nodes}
    ended = await wait_for_end(client, await submit(client, 6))
    assert {task["state"] for task in ended} == {"succeeded"}

    tasks = await submit(client, 4)
    await asyncio.sleep(1)
    cluster.lose_node(nodes[1])
    ended = await wait_for_end(client, tasks)
    assert {task["state"] for task in ended} == {"succeeded"}
    (left,) = await wait_for_slots(client, 1)
    assert left["node"] == nodes[0].name

    cluster.return_node(nodes[1])
    await wait_for_slots(client, 2)
