"""What is rendered for nginx, read by the real program and then served by it, with a service of ours behind it.

The names of the cluster's network are turned into loopback addresses, and the port and the folders into what the test
may use; everything else is read as it is rendered.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from corral.operations.cluster_file import read_cluster
from corral.rendering.targets import render_cluster
from doubles.clusters import open_cluster

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"  # Debian puts it there for root alone
ROOT = Path(__file__).parents[3]
HARVIS = "examples/harvis/cluster.yaml"
CLUSTER = """\
apiVersion: corral/v1
name: fronted
nodes: [{name: one, gpus: []}]
services:
  - {name: backend, image: "backend:1", port: 8000}
  - {name: voice.2, image: "voice:1", port: 9000}
  - {name: gone, image: "gone:1", replicas: 0, port: 9001}
  - {name: frontend, kind: nginx, calls: [backend, voice.2, gone]}
"""


@dataclass
class Backend:
    """A service behind nginx: it tells what it was asked, streams, echoes on a WebSocket, and takes large bodies."""

    url: str = ""
    asked: list[str] = field(default_factory=list[str])
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.path.endswith("/ws"):
            return await self._echo(request)
        if request.path.endswith("/words"):
            return await self._stream(request)
        size = len(await request.read())
        return web.json_response({"path": request.path_qs, "size": size, "host": request.headers["Host"]})

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        live = web.WebSocketResponse()
        await live.prepare(request)
        async for message in live:
            await live.send_str(message.data)
        return live

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first ")
        await self.may_go_on.wait()
        await response.write(b"last")
        return response


@asynccontextmanager
async def _serving() -> AsyncIterator[Backend]:
    backend = Backend()
    app = web.Application(client_max_size=2**28)
    app.router.add_route("*", "/{path:.*}", backend.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    backend.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield backend
    finally:
        await runner.cleanup()


def rendered(text: str = CLUSTER, path: str = "nginx/all/frontend.conf") -> str:
    cluster = read_cluster(text, name="cluster.yaml").cluster
    return render_cluster(cluster, source="cluster.yaml", text=text).files[path]


def _here(text: str, folder: Path, addresses: dict[str, str], port: int) -> Path:
    """Write a configuration such that this machine can serve it."""
    for name, url in addresses.items():
        assert name in text
        text = text.replace(name, url)
    text = re.sub(r"listen \d+;", f"listen 127.0.0.1:{port};", text)
    text = text.replace("/tmp/", f"{folder}/").replace("/usr/share/nginx/html", str(folder))
    (folder / "nginx.conf").write_text(text)
    return folder / "nginx.conf"


async def _checked(config: Path) -> None:
    running = await asyncio.create_subprocess_exec(
        NGINX, "-t", "-q", "-c", config, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await running.communicate()
    assert running.returncode == 0, output.decode()


@asynccontextmanager
async def _fronted(config: Path) -> AsyncIterator[None]:
    """Run nginx: the command ends once it listens, and it goes on in the background."""
    # As root it would hand its work to a user who may not read what the test wrote.
    user = ["-g", "user root;"] if os.getuid() == 0 else []
    running = await asyncio.create_subprocess_exec(NGINX, "-c", config, *user)
    assert await running.wait() == 0
    try:
        yield
    finally:
        stopped = await asyncio.create_subprocess_exec(NGINX, "-c", config, "-s", "stop")
        await stopped.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[tuple[str, Backend, aiohttp.ClientSession]]:
    (tmp_path / "index.html").write_text("the page")
    port = _free_port()
    async with _serving() as backend, aiohttp.ClientSession() as session:
        addresses = {"http://backend:8000": backend.url, "http://voice-2:9000": backend.url}
        async with _fronted(_here(rendered(), tmp_path, addresses, port)):
            yield f"http://127.0.0.1:{port}", backend, session


@pytest.mark.parametrize("layout", ["edge", "workstation"])
async def test_nginx_accepts_what_is_rendered_for_harvis_with_a_page_of_its_own(layout: str, tmp_path: Path) -> None:
    opened = open_cluster(ROOT / HARVIS)
    own = opened.text.replace("services:\n", "services:\n  - {name: page, kind: nginx, calls: [backend]}\n", 1)
    files = render_cluster(read_cluster(own, name=HARVIS).cluster, source=HARVIS, text=own).files
    text = files[f"nginx/{layout}/page.conf"]
    (address,) = re.findall(r"proxy_pass (\S+);", text)
    await _checked(_here(text, tmp_path, {address: "http://127.0.0.1:9"}, _free_port()))


async def test_nginx_accepts_what_is_rendered_for_compose_as_it_is(tmp_path: Path) -> None:
    text = rendered(path="compose/all/frontend/nginx.conf")
    assert "resolver 127.0.0.11" in text
    await _checked(_here(text, tmp_path, {}, _free_port()))


async def test_it_tells_that_it_is_there(front: tuple[str, Backend, aiohttp.ClientSession]) -> None:
    url, backend, session = front
    async with session.get(f"{url}/healthz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")
        assert response.headers["Server"] == "nginx"  # and no version
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert backend.asked == []


async def test_the_page_is_served_and_unknown_paths_are_its_own(
    front: tuple[str, Backend, aiohttp.ClientSession],
) -> None:
    url, _, session = front
    for path in ("/", "/chats/1"):
        async with session.get(url + path) as response:
            assert await response.text() == "the page"


async def test_api_goes_to_the_first_service_as_it_came_and_to_others_without_their_name(
    front: tuple[str, Backend, aiohttp.ClientSession],
) -> None:
    url, _, session = front
    async with session.get(f"{url}/api/chats?last=1") as response:
        assert (await response.json())["path"] == "/api/chats?last=1"
    async with session.get(f"{url}/api/voice.2/v1/speech?x=%20y") as response:
        assert (await response.json())["path"] == "/v1/speech?x=%20y"


async def test_a_recording_of_an_hour_passes(front: tuple[str, Backend, aiohttp.ClientSession]) -> None:
    url, _, session = front
    async with session.post(f"{url}/api/transcribe", data=bytes(120_000_000)) as response:
        assert (await response.json())["size"] == 120_000_000


async def test_words_pass_as_they_are_written(front: tuple[str, Backend, aiohttp.ClientSession]) -> None:
    url, backend, session = front
    async with session.get(f"{url}/api/words") as response:
        assert await response.content.readany() == b"first "
        backend.may_go_on.set()
        assert await response.content.read() == b"last"


async def test_a_web_socket_passes(front: tuple[str, Backend, aiohttp.ClientSession]) -> None:
    url, _, session = front
    async with session.ws_connect(f"{url}/api/ws") as live:
        await live.send_str("hello")
        assert (await live.receive()).data == "hello"


def test_a_service_that_the_layout_does_not_deploy_is_a_note() -> None:
    assert "# Nothing is sent to gone: this layout does not deploy it." in rendered()
