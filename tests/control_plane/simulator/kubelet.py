"""Serves the kubelet's API of all nodes, at each node's own address: logs, and commands in containers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web

from control_plane.certificates import sign
from control_plane.network import NODES, Network
from control_plane.simulator.containers import Runner
from control_plane.simulator.node_object import PORT
from control_plane.simulator.objects import EMPTY
from control_plane.simulator.pods import Pod
from control_plane.simulator.processes import Container, Line, Log
from control_plane.simulator.streams import attach, forward_ports, run_command

Find = Callable[[str, str, str], Pod | None]
"""Finds a pod by its node's address, its namespace and name."""


class Kubelet:
    """The server; `start` and `stop` it."""

    def __init__(self, folder: Path, network: Network, find: Find) -> None:
        self._folder = folder
        self._network = network
        self._find = find
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen at the addresses of all nodes, also of those to come."""
        application = web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._send_log)
        for prefix in ("", "/{uid}"):
            for method in ("GET", "POST"):
                route = application.router.add_route
                route(method, f"/exec/{{namespace}}/{{pod}}{prefix}/{{container}}", self._execute)
                route(method, f"/attach/{{namespace}}/{{pod}}{prefix}/{{container}}", self._attach)
                route(method, f"/portForward/{{namespace}}/{{pod}}{prefix}", self._forward)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*make_certificate(self._folder, self._network))
        await web.TCPSite(self._runner, "0.0.0.0", PORT, ssl_context=context).start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _find_runner(self, request: web.Request) -> Runner:
        pod = self._find_pod(request)
        name = request.match_info["container"]
        runner = pod.find(name)
        if runner is None:
            raise web.HTTPNotFound(text=f'container "{name}" in pod "{request.match_info["pod"]}" is not available')
        return runner

    def _find_pod(self, request: web.Request) -> Pod:
        assert request.transport is not None
        address: str = request.transport.get_extra_info("sockname")[0]
        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        pod = self._find(address, namespace, name)
        if pod is None:
            raise web.HTTPNotFound(text=f'pod "{name}" does not exist')
        return pod

    def _find_container(self, request: web.Request) -> tuple[Runner, Container]:
        runner = self._find_runner(request)
        if runner.container is None:
            raise web.HTTPNotFound(text=f'container not found ("{runner.record.name}")')
        return runner, runner.container

    async def _execute(self, request: web.Request) -> web.StreamResponse:
        return await run_command(request, self._find_container(request)[1])

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        return await attach(request, *self._find_container(request))

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        sandbox = self._find_pod(request).sandbox
        if sandbox is None:
            raise web.HTTPNotFound(text=f'pod "{request.match_info["pod"]}" has no network yet')
        return await forward_ports(request, sandbox)

    async def _send_log(self, request: web.Request) -> web.StreamResponse:
        runner = self._find_runner(request)
        query = request.query
        is_previous = query.get("previous") == "true"
        log = runner.previous_log if is_previous else runner.log
        if log is None:
            kind, name, pod = (
                ("previous terminated " if is_previous else ""),
                runner.record.name,
                request.match_info["pod"],
            )
            reason = runner.record.state.get("waiting", EMPTY).get("reason", "ContainerCreating")
            what = "not found" if is_previous else f"is waiting to start: {reason}"
            raise web.HTTPBadRequest(text=f'{kind}container "{name}" in pod "{pod}" {what}')
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        rest = int(query.get("limitBytes", 2**62))
        async for line in _read_lines(log, query):
            text = _format_line(line, with_time=query.get("timestamps") == "true")[:rest]
            rest -= len(text)
            await response.write(text)
            if rest <= 0:
                break
        await response.write_eof()
        return response


async def _read_lines(log: Log, query: Mapping[str, str]) -> AsyncGenerator[Line]:
    since = None
    if "sinceSeconds" in query:
        since = datetime.now(UTC) - timedelta(seconds=int(query["sinceSeconds"]))
    elif "sinceTime" in query:
        since = datetime.fromisoformat(query["sinceTime"])
    lines = [line for line in log.lines if since is None or line.at >= since]
    if "tailLines" in query:
        lines = lines[max(len(lines) - int(query["tailLines"]), 0) :]
    count = log.count
    for line in lines:
        yield line
    while query.get("follow") == "true":
        async with log.changed:
            while log.count == count and not log.is_closed:
                await log.changed.wait()
            new = list(log.lines)[max(len(log.lines) - (log.count - count), 0) :]
            count = log.count
        for line in new:
            yield line
        if log.is_closed and log.count == count:
            return


def _format_line(line: Line, *, with_time: bool) -> bytes:
    if not with_time:
        return line.text
    return line.at.strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode() + line.text


def make_certificate(folder: Path, network: Network) -> tuple[Path, Path]:
    """Make a certificate of the plane's authority for all nodes. Returns it, and its key."""
    names = [f"IP:{network.find_node(number)}" for number in range(1, NODES + 1)]
    sign(folder, "nodes", "/O=system:nodes/CN=system:node:simulated", names, "serverAuth")
    return folder / "nodes.crt", folder / "nodes.key"
