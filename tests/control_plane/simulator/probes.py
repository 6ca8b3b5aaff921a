"""Asks a container whether it has started, lives and is ready, as its probes say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp

from control_plane.simulator.environment import ConfigurationError
from control_plane.simulator.objects import Json
from control_plane.simulator.processes import Container, run_inside

if TYPE_CHECKING:
    from control_plane.simulator.containers import Runner, Surroundings


class Prober:
    """Runs the probes of one container, while it runs."""

    def __init__(self, runner: Runner, around: Surroundings) -> None:
        self._runner = runner
        self._around = around

    async def run(self, container: Container) -> None:
        """Probe until cancelled."""
        spec = self._runner.spec
        startup = spec.get("startupProbe")
        if startup is not None:
            await self._follow("Startup", startup, container)
            self._runner.set_started()
        async with asyncio.TaskGroup() as group:
            if spec.get("livenessProbe") is not None:
                group.create_task(self._follow("Liveness", spec["livenessProbe"], container))
            if spec.get("readinessProbe") is not None:
                group.create_task(self._follow("Readiness", spec["readinessProbe"], container))
            elif self._runner.record.kind != "init":
                self._runner.set_ready(is_ready=True)

    async def _follow(self, kind: str, probe: Json, container: Container) -> None:
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        failures = successes = 0
        while self._runner.container is container:
            problem = await self._ask(probe, container)
            failures, successes = (0, successes + 1) if problem is None else (failures + 1, 0)
            if problem is not None:
                self._runner.report("Unhealthy", f"{kind} probe failed: {problem}", is_warning=True)
            if successes >= probe.get("successThreshold", 1):
                if kind == "Startup":
                    return
                if kind == "Readiness":
                    self._runner.set_ready(is_ready=True)
            if failures >= probe.get("failureThreshold", 3):
                if kind == "Readiness":
                    self._runner.set_ready(is_ready=False)
                else:
                    name = self._runner.record.name
                    grace_s = self._around.pod["spec"].get("terminationGracePeriodSeconds", 30)
                    why = f"Container {name} failed {kind.lower()} probe, will be restarted"
                    await self._runner.end(probe.get("terminationGracePeriodSeconds", grace_s), why)
                    return
            await asyncio.sleep(probe.get("periodSeconds", 10))

    async def _ask(self, probe: Json, container: Container) -> str | None:
        timeout_s = probe.get("timeoutSeconds", 1)
        try:
            async with asyncio.timeout(timeout_s):
                return await ask_handler(container, probe, self._around.address, self._runner.spec, timeout_s)
        except TimeoutError:
            if "exec" in probe:
                return f'command timed out: "{" ".join(probe["exec"]["command"])}" timed out after {timeout_s}s'
            return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        except (OSError, aiohttp.ClientError, ConfigurationError) as error:
            return str(error)


async def run_handler(container: Container, handler: Json, address: str, spec: Json) -> None:
    """Run a hook to its end, however long it takes. Raises: OSError when it fails."""
    if "sleep" in handler:
        await asyncio.sleep(handler["sleep"]["seconds"])
        return
    try:
        problem = await ask_handler(container, handler, address, spec, 3600)
    except aiohttp.ClientError as error:
        raise OSError(str(error)) from error
    if problem is not None:
        raise OSError(problem)


async def ask_handler(container: Container, handler: Json, address: str, spec: Json, timeout_s: float) -> str | None:
    """Ask by `exec`, `httpGet` or `tcpSocket`. Returns why it failed, None when it did not. Raises: OSError."""
    match handler:
        case {"exec": action}:
            code, output = await run_inside(container, action["command"], timeout_s)
            return None if code == 0 else output.strip() or f"command exited with code {code}"
        case {"httpGet": action}:
            return await _ask_http(action, address, spec)
        case {"tcpSocket": action}:
            host, port = action.get("host") or address, find_port(spec, action["port"])
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                return f"dial tcp {host}:{port}: connect: connection refused"
            writer.close()
            return None
        case _:
            raise ConfigurationError(f"a handler of this kind is not simulated: {sorted(handler)}")


async def _ask_http(action: Json, address: str, spec: Json) -> str | None:
    host, port = action.get("host") or address, find_port(spec, action["port"])
    scheme = action.get("scheme", "HTTP").lower()
    url = f"{scheme}://{host}:{port}{action.get('path', '/')}"
    headers = {
        "User-Agent": "kube-probe/1.36",
        **{entry["name"]: entry["value"] for entry in action.get("httpHeaders") or ()},
    }
    # The kubelet does not verify certificates either.
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(url, headers=headers, allow_redirects=False, ssl=False) as reply:
                await reply.read()
                return None if 200 <= reply.status < 400 else f"HTTP probe failed with statuscode: {reply.status}"
        except aiohttp.ClientConnectorError:
            return f'Get "{url}": dial tcp {host}:{port}: connect: connection refused'


def find_port(spec: Json, port: int | str) -> int:
    """Find a port by number or by the name that the container gives it. Raises: ConfigurationError."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    for entry in spec.get("ports") or ():
        if entry.get("name") == port:
            return entry["containerPort"]
    raise ConfigurationError(f"couldn't find port: {port}")
