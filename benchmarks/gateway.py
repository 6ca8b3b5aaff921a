"""What the way through the gateway costs, next to nginx, LiteLLM and a bare proxy: `python -m benchmarks.gateway`.

All pass chats on to the same trivial upstream, one process each, with 1 and 32 connections, whole and as streams of 20
events. Rounds are interleaved. The processor time of a request, user and system, is what other work on the machine
changes least: the smallest of all rounds is printed, as are the best rate and the smallest waits. Corral is a whole
server, as `corral up` starts it: each request is admitted, finds its model over all instances, takes its turn by the
policy and is counted for its owner. PostgreSQL's processes are not part of its processor time.

LiteLLM is installed from PyPI into an environment of its own; nginx is Debian's, where it is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import uvloop

from benchmarks.programs import PYTHON, START_S, find_port, run_corral, run_program
from benchmarks.table import machine, show

LITELLM = "litellm[proxy]==1.75.8"
_PARTS = (PYTHON, "-m", "benchmarks.gateway_parts")
_PATH = "/v1/chat/completions"
_MESSAGES = [{"role": "user", "content": "Tell me about foxes. " * 24}]


@dataclass(frozen=True, slots=True)
class Proxy:
    """One of those that are compared."""

    name: str
    port: int
    process: psutil.Process
    slow: bool = False
    """Whether it gets fewer requests: a rate of tens a second takes minutes else."""

    def measure_cpu(self) -> float:
        """Return its processor time in seconds, with that of nginx's worker, without ticks of 10 ms."""
        processes = [self.process, *(self.process.children() if self.name == "nginx" else ())]
        threads = [thread for process in processes for thread in Path(f"/proc/{process.pid}/task").iterdir()]
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9

    def measure_memory(self) -> float:
        """Return its resident memory in MB, with that of nginx's worker."""
        processes = [self.process, *(self.process.children() if self.name == "nginx" else ())]
        return sum(process.memory_info().rss for process in processes) / 1e6


@dataclass(slots=True)
class Figures:
    """The best of all rounds of one kind of load."""

    cpu_us: float = float("inf")
    rate: float = 0.0
    p50_ms: float = float("inf")
    p99_ms: float = float("inf")
    first_ms: float = float("inf")

    def take(self, waits_s: Sequence[float], firsts_s: Sequence[float], took_s: float, cpu_s: float) -> None:
        """Take a round."""
        ordered = sorted(waits_s)
        self.cpu_us = min(self.cpu_us, cpu_s / len(waits_s) * 1e6)
        self.rate = max(self.rate, len(waits_s) / took_s)
        self.p50_ms = min(self.p50_ms, statistics.median(ordered) * 1e3)
        self.p99_ms = min(self.p99_ms, ordered[int(len(ordered) * 0.99)] * 1e3)
        self.first_ms = min(self.first_ms, statistics.median(firsts_s) * 1e3)


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of load."""

    connections: int
    streams: bool
    count: int

    @property
    def name(self) -> str:
        """For people."""
        kind = "stream" if self.streams else "whole"
        return f"{kind}, {self.connections} connection{'s' if self.connections > 1 else ''}"


LOADS = (Load(1, False, 400), Load(32, False, 2000), Load(1, True, 200), Load(32, True, 800))


class _Client(asyncio.Protocol):
    """Sends one request after another, and notes the first byte and the last of each answer."""

    def __init__(self, request: bytes, take: Callable[[], bool], done: asyncio.Future[None], *, streams: bool) -> None:
        self._request, self._take, self._done, self._streams = request, take, done, streams
        self.waits_s: list[float] = []
        self.firsts_s: list[float] = []
        self._seen = bytearray()
        self._begun = self._first = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        if not self._take():
            self._transport.close()
            if not self._done.done():
                self._done.set_result(None)
            return
        self._seen.clear()
        self._first = 0.0
        self._begun = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if not self._first and (not self._streams or b"data:" in self._seen):
            self._first = time.perf_counter()
        if not self._is_whole():
            return
        if not self._seen.startswith(b"HTTP/1.1 200"):
            self._done.set_exception(RuntimeError(f"answered {bytes(self._seen)[:500]!r}"))
            return
        now = time.perf_counter()
        self.waits_s.append(now - self._begun)
        self.firsts_s.append(self._first - self._begun)
        self._send()

    def _is_whole(self) -> bool:
        head, gap, body = self._seen.partition(b"\r\n\r\n")
        if not gap:
            return False
        lower = bytes(head).lower()
        if b"chunked" in lower:
            return body.endswith(b"0\r\n\r\n")
        return len(body) >= int(lower.partition(b"content-length:")[2].partition(b"\r")[0] or b"0")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or RuntimeError(f"closed after {bytes(self._seen)[:200]!r}"))


async def _load(port: int, load: Load, count: int) -> tuple[list[float], list[float], float]:
    body = json.dumps({"model": "tiny", "messages": _MESSAGES, **({"stream": True} if load.streams else {})}).encode()
    head = f"POST {_PATH} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
    request = f"{head}authorization: Bearer sk-none\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    if port in _KEYLESS:
        request = request.replace(b"authorization: Bearer sk-none\r\n", b"")
    left = iter(range(count))
    loop = asyncio.get_running_loop()
    finished = [loop.create_future() for _ in range(load.connections)]
    clients = [_Client(request, lambda: next(left, None) is not None, done, streams=load.streams) for done in finished]
    begun = time.perf_counter()
    await asyncio.gather(*(loop.create_connection(lambda c=client: c, "127.0.0.1", port) for client in clients))
    await asyncio.gather(*finished)
    took = time.perf_counter() - begun
    waits = [wait for client in clients for wait in client.waits_s]
    return waits, [first for client in clients for first in client.firsts_s], took


_KEYLESS: set[int] = set()
"""The ports of those that trust loopback, and refuse a key that they do not know."""


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without", action="append", default=[], choices=["LiteLLM", "nginx"], help="leave it out")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder, upstream = Path(name), find_port()
        folder.chmod(0o711)  # root starts PostgreSQL as another user
        running.enter_context(run_program([*_PARTS, "upstream", str(upstream)], upstream, folder))
        proxies = list(_start(running, folder, upstream, asked.without))
        figures = {(proxy.name, load.name): Figures() for proxy in proxies for load in LOADS}
        direct = {load.name: Figures() for load in LOADS}
        for _ in range(asked.rounds):
            for load in LOADS:
                waits, firsts, took = uvloop.run(_load(upstream, load, load.count))
                direct[load.name].take(waits, firsts, took, 0.0)
                for proxy in proxies:
                    count = max(load.count // 20, load.connections) if proxy.slow else load.count
                    before = proxy.measure_cpu()
                    waits, firsts, took = uvloop.run(_load(proxy.port, load, count))
                    figures[proxy.name, load.name].take(waits, firsts, took, proxy.measure_cpu() - before)
        memory = {proxy.name: proxy.measure_memory() for proxy in proxies}
    _show(figures, direct, memory, [proxy.name for proxy in proxies], asked.rounds)


def _show(
    figures: dict[tuple[str, str], Figures],
    direct: dict[str, Figures],
    memory: dict[str, float],
    names: Sequence[str],
    rounds: int,
) -> None:
    head = (
        "",
        "CPU us a request",
        "x nginx",
        "requests/s",
        "p50 ms",
        "p50 added",
        "p99 ms",
        "first event added ms",
        "MB",
    )
    for load in LOADS:
        base = figures.get(("nginx", load.name))
        rows: list[tuple[str, ...]] = []
        for name in names:
            best = figures[name, load.name]
            ratio = "-" if base is None else f"{best.cpu_us / base.cpu_us:.1f}"
            added = best.p50_ms - direct[load.name].p50_ms
            first = f"{best.first_ms - direct[load.name].first_ms:.2f}" if load.streams else "-"
            measured = (f"{best.cpu_us:.0f}", ratio, f"{best.rate:,.0f}", f"{best.p50_ms:.2f}", f"{added:.2f}")
            rows.append((name, *measured, f"{best.p99_ms:.1f}", first, f"{memory[name]:.0f}"))
        show(f"Gateway: {load.name}", head, rows)
    print(f"\n- {rounds} rounds; {machine()}")


def _start(running: contextlib.ExitStack, folder: Path, upstream: int, without: Sequence[str]) -> Iterator[Proxy]:
    url = f"http://127.0.0.1:{upstream}"
    if "nginx" not in without and (program := shutil.which("nginx")):
        port = find_port()
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port, upstream=upstream))
        command = [program, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "nginx.log")]
        yield Proxy("nginx", port, running.enter_context(run_program(command, port, folder)))
    port = find_port()
    bare = running.enter_context(run_program([*_PARTS, "bare", str(port), url], port, folder))
    yield Proxy("bare proxy", port, bare)
    port = find_port()
    _KEYLESS.add(port)
    server = running.enter_context(run_corral(_CLUSTER.format(url=url), port, folder))
    _wait_for_model(port, folder)
    yield Proxy("Corral", port, server)
    if "LiteLLM" not in without:
        port = find_port()
        (folder / "litellm.yaml").write_text(_LITELLM_CONFIG.format(url=url))
        program = _install_litellm()
        command = [str(program), "--config", str(folder / "litellm.yaml"), "--port", str(port), "--host", "127.0.0.1"]
        yield Proxy("LiteLLM", port, running.enter_context(run_program(command, port, folder)), slow=True)


def _install_litellm() -> Path:
    """Install LiteLLM's proxy into an environment of its own, kept between runs, and return its program."""
    environment = Path(__file__).parent.parent / ".cache" / "benchmarks" / "litellm"
    program = environment / "bin" / "litellm"
    if not program.exists():
        uv = str(Path(PYTHON).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--python", PYTHON, str(environment)], check=True)
        python = str(environment / "bin" / "python")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, LITELLM], check=True)
    return program


def _wait_for_model(port: int, folder: Path) -> None:
    """Wait until Corral has looked at its instance and has taken the lead."""
    body = json.dumps({"model": "tiny", "messages": _MESSAGES}).encode()
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}{_PATH}", body, timeout=10) as answer,
        ):
            if answer.status == 200:
                time.sleep(3)  # by now it has asked how much the instance does at once
                return
        time.sleep(0.5)
    sys.exit(f"Corral does not serve the model:\n{(folder / f'{port}.log').read_text()[-2000:]}")


_NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream models {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://models; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""
_CLUSTER = """
apiVersion: corral/v1
name: benchmark
nodes: [{{name: here, gpus: []}}]
engines:
  llama: {{enabled: false}}
  whisper: {{enabled: false}}
  piper: {{enabled: false}}
  kokoro: {{enabled: false}}
  inspect: {{enabled: false}}
  onnx: {{enabled: false}}
  openai: {{instances: [{{name: trivial, url: "{url}"}}]}}
"""
_LITELLM_CONFIG = """
model_list:
  - model_name: tiny
    litellm_params: {{model: openai/tiny, api_base: "{url}/v1", api_key: none}}
"""

if __name__ == "__main__":
    main()
