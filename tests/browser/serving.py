"""A real server in a process of its own, with an empty data directory, and calls of its API."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from corral.data_dir import find_server

CLUSTER = """\
apiVersion: corral/v1
name: barn
nodes: [{name: here, gpus: [], cpu: {slots: 12}}]
engines:
  sleep: {enabled: true}
  command: {enabled: true}
  inspect: {enabled: true}
  llama: {enabled: false}
  whisper: {enabled: false}
  piper: {enabled: false}
  kokoro: {enabled: false}
  onnx: {enabled: false}
"""
_START_S = 120
"""Machines that run other tests at the same time take long to start a server."""


@dataclass
class Barn:
    """A server that a test can stop and start; it keeps its port."""

    folder: Path
    options: tuple[str, ...] = ()
    port: int = 0
    url: str = ""
    token: str = ""
    """Of the local administrator, as commands of this machine have it."""
    session: aiohttp.ClientSession = field(init=False)
    _process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        command = ("-m", "corral", "up", "--port", str(self.port), "--data-dir", str(self.folder / "data"))
        cluster = ("--cluster", str(self.folder / "cluster.yaml"))
        log = (self.folder / "server.log").open("ab")
        environment = {**os.environ, "NO_COLOR": "1"}
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, *command, *cluster, *self.options), stdout=log, stderr=log, env=environment
        )
        async with asyncio.timeout(_START_S):
            while (server := find_server(self.folder / "data")) is None:
                assert self._process.returncode is None, (self.folder / "server.log").read_text()
                await asyncio.sleep(0.05)
            self.url, self.token = server.url, server.token
            self.port = int(self.url.rpartition(":")[2])
            while (await self.get("/health/ready"))["dispatcher"] != "leading":  # noqa: ASYNC110 - no event of another process
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Stop it in order."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def get(self, path: str) -> Any:  # whatever the route answers
        """GET as the local administrator."""
        return await self._call("GET", path)

    async def post(self, path: str, body: Any = None) -> Any:  # as `get`
        """POST as the local administrator."""
        return await self._call("POST", path, data=json.dumps(body or {}))

    async def delete(self, path: str) -> None:
        """DELETE as the local administrator."""
        await self._call("DELETE", path)

    async def _call(self, method: str, path: str, **given: Any) -> Any:  # as `get`; the arguments of aiohttp's request
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        async with self.session.request(method, self.url + path, headers=headers, **given) as response:
            answer = await response.json()
            assert response.status < 400, answer
            return answer

    async def change_cluster(self, text: str) -> None:
        """Put another cluster file into effect."""
        (self.folder / "cluster.yaml").write_text(text)
        await self.post("/corral/v1/reload")

    async def submit(self, count: int, seconds: float, name: str = "nap") -> int:
        """Submit a batch of tasks that sleep, and return its number."""
        tasks = [
            {"name": f"{name}-{number}", "engine": "sleep", "inputs": {"seconds": seconds}}
            for number in range(1, count + 1)
        ]
        return (await self.post("/corral/v1/batches", {"name": name, "tasks": tasks}))["batch"]["id"]

    async def run_command(self, *argv: str, name: str, outputs: Sequence[str] = ()) -> int:
        """Run a program as a task to its end, keep files that it writes, and return the task's number."""
        inputs = {"argv": [*argv], "outputs": [*outputs]}
        made = await self.post("/corral/v1/tasks", {"engine": "command", "name": name, "inputs": inputs})
        ended = await self.get(f"/corral/v1/tasks/{made['id']}/wait?timeout=60")
        assert ended["state"] == "succeeded", ended
        return made["id"]

    async def make_token(self, name: str, **fields: object) -> str:
        """Make a token and return its secret."""
        return (await self.post("/corral/v1/tokens", {"name": name, **fields}))["token"]

    async def cancel_all(self) -> None:
        """Cancel what has not ended, and wait until all has."""
        for batch in (await self.get("/corral/v1/batches"))["items"]:
            if not batch["done"]:
                await self.post(f"/corral/v1/batches/{batch['id']}/cancel")
                await self.get(f"/corral/v1/batches/{batch['id']}/wait?timeout=30")


@asynccontextmanager
async def keep_barn(folder: Path, *options: str, cluster: str = CLUSTER) -> AsyncIterator[Barn]:
    """A running server in a folder, which is stopped at the end."""
    (folder / "cluster.yaml").write_text(cluster)
    barn = Barn(folder, options)
    async with aiohttp.ClientSession() as barn.session:
        try:
            await barn.start()
            yield barn
        finally:
            await barn.stop()
