"""Corral itself on a real cluster: of two replicas one leads, and the queue outlives the node that it runs on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import aiohttp
import asyncpg
import pytest
import yaml

from control_plane.cluster import AddedNode, Cluster, is_ready
from control_plane.machines import RTX_4090
from control_plane.serving import find_host
from control_plane.simulator.images import Image
from control_plane.stand_ins import make_corral, make_ollama
from corral.kubernetes.api import Api, open_api
from corral.operations.cluster_file import FileText
from corral.operations.deploying.applying import apply_layout, observe_target

pytestmark = pytest.mark.timeout(600)  # two servers start on a machine that is busy
LABELS = "app.kubernetes.io/name=corral"
MODEL = "llama3.2:1b"
RELAY = """
import asyncio, sys

async def pass_on(reader, writer):
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()
    writer.close()

async def carry(reader, writer):
    far_reader, far_writer = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer), return_exceptions=True)

async def main():
    async with await asyncio.start_server(carry, "0.0.0.0", 5432) as server:
        await server.serve_forever()

asyncio.run(main())
"""


@asynccontextmanager
async def lend_database(postgres_url: str, host: str) -> AsyncGenerator[int]:
    """Lend the database that rendered servers use, at a port of this machine that pods reach."""
    admin = await asyncpg.connect(postgres_url)
    await admin.execute("drop database corral with (force)")  # the embedded server makes one that no test uses
    await admin.execute("create role corral login")
    await admin.execute("create database corral owner corral")
    folder = parse_qs(urlsplit(postgres_url).query)["host"][0]
    relay = await asyncio.start_server(
        lambda reader, writer: _carry(reader, writer, Path(folder) / ".s.PGSQL.5432"), host, 0
    )
    yield relay.sockets[0].getsockname()[1]
    relay.close()
    await admin.execute("drop database corral with (force)")
    await admin.execute("drop role corral")
    await admin.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: Path) -> None:
    far_reader, far_writer = await asyncio.open_unix_connection(path)
    await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer), return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()
    writer.close()


def write_file(cluster: Cluster, node: AddedNode) -> FileText:
    own, models = f"{cluster.name}-own", f"{cluster.name}-models"
    value: dict[str, Any] = {
        "apiVersion": "corral/v1",
        "name": cluster.name,
        "kubernetes": {"namespace": cluster.namespace, "gpuMode": "devicePlugin"},
        "nodes": [{"name": node.name, "address": node.address, "gpus": [{"model": "RTX 4090"}]}],
        "storage": [
            {"name": own, "kind": "nfs", "server": "10.0.0.9", "path": "/own", "size": "1Gi"},
            {"name": models, "kind": "ephemeral", "size": "1Gi"},
        ],
        "services": [
            {"name": "postgresql", "kind": "postgresql"},
            {"name": "corral", "kind": "corral", "replicas": 2, "calls": ["postgresql"], "storage": [own]},
            {
                "name": "ollama",
                "engines": ["ollama"],
                "gpus": 1,
                "gpuMemory": "20Gi",
                "models": [MODEL],
                "storage": [models],
                "lends": False,
            },
        ],
        "engines": {"ollama": {}, "job": {"enabled": False}},
    }
    return FileText(text=yaml.safe_dump(value))


class Queue:
    """The API of whichever server is ready now, over the addresses of its pods."""

    def __init__(self, cluster: Cluster, session: aiohttp.ClientSession) -> None:
        self._cluster = cluster
        self._session = session

    def list_ready(self) -> list[str]:
        """The pods that are ready, by their names."""
        return [pod["metadata"]["name"] for pod in self._cluster.list_pods(LABELS) if is_ready(pod)]

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask until it is answered; asking twice submits once."""
        headers = {"Idempotency-Key": uuid4().hex}
        async with asyncio.timeout(90):
            while True:
                for pod in await asyncio.to_thread(self._cluster.list_pods, LABELS):
                    url = f"http://{pod['status'].get('podIP')}:7433{path}"
                    try:
                        async with self._session.request(method, url, json=body, headers=headers) as answer:
                            if is_ready(pod) and answer.status < 400:
                                return await answer.json()
                    except (aiohttp.ClientError, TimeoutError):
                        continue  # it ends, or does not listen yet
                await asyncio.sleep(0.2)


@pytest.fixture
async def api(cluster: Cluster) -> AsyncIterator[Api]:
    """A connection as an administrator."""
    async with open_api(kubeconfig=cluster.plane.kubeconfig) as opened:
        yield opened


async def make_token(api: Api, cluster: Cluster, pod: str) -> str:
    """Make a token as a person does in the pod."""
    words = ("corral", "tokens", "create", "person", "--role", "admin", "-q", "--data-dir", "/var/lib/corral")
    answer = await api.run_inside(cluster.namespace, pod, "corral", words, deadline_s=60)
    assert answer.exit_code == 0, (answer.stdout, answer.stderr)
    text = answer.stdout
    return (text.decode() if isinstance(text, bytes) else text or "").strip()


def drain(cluster: Cluster, pod: str) -> None:
    """Drain the node of a pod as kubectl does, of this pod."""
    node = cluster.read_pod(pod)["spec"]["nodeName"]
    closed = {"spec": {"unschedulable": True}}
    cluster.plane.ask("PATCH", f"/api/v1/nodes/{node}", closed, "application/merge-patch+json")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    cluster.create(f"pods/{pod}/eviction", eviction)


async def test_of_two_servers_one_leads_and_when_its_node_is_drained_the_other_goes_on_and_nothing_is_lost(
    cluster: Cluster, api: Api, postgres_url: str, tmp_path: Path
) -> None:
    host = find_host(cluster)
    (tmp_path / "own").mkdir()
    (tmp_path / "own").chmod(0o777)
    cluster.export_folder("10.0.0.9:/own", tmp_path / "own")
    cluster.add_image(make_corral())
    cluster.add_image(make_ollama(seconds_per_token=0.2))
    for name in ("alpha", "beta"):
        cluster.add_node(name)
    gpus = cluster.add_node("gamma", gpus=[RTX_4090])
    password = {"metadata": {"name": "postgresql"}, "stringData": {"POSTGRES_PASSWORD": "x"}}
    cluster.create("secrets", password)
    async with lend_database(postgres_url, host) as port, aiohttp.ClientSession() as session:
        pg_isready = {"/usr/bin/pg_isready": "#!/bin/sh\nexit 0\n"}
        argv = [sys.executable, "-c", RELAY, host, str(port)]
        cluster.add_image(Image(pattern="postgres:*", argv=argv, ignores_command=True, files=pg_isready))
        await apply_layout(api, await observe_target(api, write_file(cluster, gpus), None))
        queue = Queue(cluster, session)
        (leader,) = await asyncio.to_thread(cluster.wait_for, queue.list_ready, "a server that leads")
        session.headers["Authorization"] = f"Bearer {await make_token(api, cluster, leader)}"

        task = {"engine": "ollama", "model": MODEL, "inputs": {"prompt": "one", "options": {"num_predict": 8}}}
        accepted = await queue.ask("POST", "/corral/v1/batches", {"name": "words", "tasks": [task] * 6})
        tasks = [entry["id"] for entry in accepted["tasks"]]
        while (await queue.ask("GET", f"/corral/v1/tasks/{tasks[1]}"))["started_at"] is None:  # noqa: ASYNC110 (remote)
            await asyncio.sleep(0.2)
        assert queue.list_ready() == [leader]
        await asyncio.to_thread(drain, cluster, leader)

        ended = [await queue.ask("GET", f"/corral/v1/tasks/{number}/wait?timeout=5") for number in tasks]
        while any(entry["finished_at"] is None for entry in ended):
            ended = [await queue.ask("GET", f"/corral/v1/tasks/{number}/wait?timeout=5") for number in tasks]
        assert {(entry["state"], entry["attempts"], entry["losses"]) for entry in ended} == {("succeeded", 0, 0)}
        (other,) = queue.list_ready()
        assert other != leader
