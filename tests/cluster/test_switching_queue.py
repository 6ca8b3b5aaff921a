"""The queue while layouts are switched: tasks that run end, none is lost, and the next ones run in the new layout."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
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
from corral.operations.deploying.waiting import wait_until_ready
from doubles.short_folders import lend_short_folder


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with lend_short_folder() as folder:
        yield folder


@pytest.fixture
def nodes(cluster: Cluster) -> tuple[AddedNode, AddedNode]:
    """Two nodes with a GPU each; a task of sixteen tokens takes eight seconds."""
    cluster.add_image(make_ollama(seconds_per_token=0.5))
    return cluster.add_node("alpha", gpus=[RTX_4090]), cluster.add_node("beta", gpus=[RTX_4090])


def write_file(cluster: Cluster, nodes: tuple[AddedNode, AddedNode]) -> FileText:
    alpha, beta = nodes
    ollama = {"name": "ollama", "engines": ["ollama"], "gpus": 1, "gpuMemory": "20Gi", "models": ["llama3.2:1b"]}

    def place(node: AddedNode, name: str) -> dict[str, Any]:
        return {"kind": "edge", "services": {"ollama": {"node": node.name, "gpus": [0], "name": name}}}

    value: dict[str, Any] = {
        "apiVersion": "corral/v1",
        "name": cluster.name,
        "kubernetes": {"namespace": cluster.namespace, "gpuMode": "devicePlugin"},
        "nodes": [{"name": node.name, "address": node.address, "gpus": [{"model": "RTX 4090"}]} for node in nodes],
        "storage": [{"name": "models", "kind": "ephemeral", "size": "1Gi"}],
        "services": [{**ollama, "storage": ["models"]}],
        "layouts": {"day": place(alpha, "ollama-day"), "night": place(beta, "ollama-night")},
    }
    return FileText(text=yaml.safe_dump(value))


@pytest.fixture
async def server(cluster: Cluster, nodes: tuple[AddedNode, AddedNode], short_folder: Path) -> AsyncIterator[Kept]:
    """A server that follows the cluster, on which the layout `day` is ready."""
    file = write_file(cluster, nodes)
    async with open_api(kubeconfig=cluster.plane.kubeconfig) as api:
        target = await observe_target(api, file, "day")
        await apply_layout(api, target)
        await wait_until_ready(api, target.wanted.objects, within_s=90)
    async with keep_server(cluster, file, short_folder) as kept:
        yield kept


@pytest.fixture
async def client(server: Kept, short_folder: Path) -> AsyncIterator[PatientClient]:
    async with PatientClient(short_folder / "data") as client:
        await client.leading()
        yield client


async def wait_for_slot(client: PatientClient, node: str) -> dict[str, Any]:
    async with asyncio.timeout(90):
        while True:
            slots = (await client.get("/corral/v1/slots"))["items"]
            for slot in slots:
                if slot["engine"] == "ollama" and slot["node"] == node and slot["gate"] == "open":
                    return slot
            await asyncio.sleep(0.3)


async def wait_for_state(client: PatientClient, task: int, state: str) -> None:
    async with asyncio.timeout(60):
        while True:
            if (await client.get(f"/corral/v1/tasks/{task}"))["state"] == state:
                return
            await asyncio.sleep(0.2)


async def test_running_task_ends_before_its_pod_does_and_waiting_ones_run_in_the_new_layout(
    cluster: Cluster, nodes: tuple[AddedNode, AddedNode], client: PatientClient, short_folder: Path
) -> None:
    await wait_for_slot(client, nodes[0].name)
    task = {
        "engine": "ollama",
        "model": "llama3.2:1b",
        "inputs": {"prompt": "word " * 16, "options": {"num_predict": 16}},
    }
    accepted = await client.post("/corral/v1/batches", {"name": "words", "tasks": [task] * 3})
    tasks = [entry["id"] for entry in accepted["tasks"]]
    await wait_for_state(client, tasks[0], "running")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "corral", "switch", "night", "--within", "90s"),
        *("--cluster", str(short_folder / "cluster.yaml"), "--data-dir", str(short_folder / "data")),
        env={**os.environ, "KUBECONFIG": str(cluster.plane.kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert out.decode().startswith("switched  to night (was day)")
    assert "task to its end" in errors.decode()

    ended: list[dict[str, Any]] = []
    async with asyncio.timeout(120):
        for number in tasks:
            while True:
                answer = await client.get(f"/corral/v1/tasks/{number}/wait?timeout=20")
                if answer["state"] in ("succeeded", "failed", "cancelled"):
                    break
            ended.append(answer)
    assert {answer["state"] for answer in ended} == {"succeeded"}
    assert {(answer["attempts"], answer["losses"]) for answer in ended} == {(0, 0)}
    slot = await wait_for_slot(client, nodes[1].name)
    assert slot["instance"].startswith("ollama-night")
