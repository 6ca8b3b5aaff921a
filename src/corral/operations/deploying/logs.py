"""Logs of a service: of its pods on a cluster, or of its container that Compose runs on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar, Protocol

from corral.deploying.health import list_pods
from corral.deploying.objects import LayoutObjects
from corral.deploying.order import POD
from corral.deploying.state import name_state, read_state
from corral.errors import CorralError, Kind, did_you_mean
from corral.kubernetes.errors import RefusedError
from corral.operations.cluster_file import ClusterText, FileText, check_cluster
from corral.operations.deploying.applying import NoLayoutError, choose_layout, make_wanted
from corral.operations.deploying.stepping import Objects
from corral.rendering.compose.projects import name_project
from corral.rendering.installation import Deployed, namespace_of, resolve_installations
from corral.rendering.kubernetes.objects import name_workload
from corral.rendering.names import dns_name


class Logs(Objects, Protocol):
    """Objects of a cluster, and the logs of its pods."""

    async def read_log(
        self,
        namespace: str,
        pod: str,
        container: str | None = None,
        *,
        lines: int | None = None,
        previous: bool = False,
    ) -> str:
        """Read the end of a container's log."""
        ...

    def follow_log(
        self, namespace: str, pod: str, container: str | None = None, *, lines: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """Follow a container's log."""
        ...


class UnknownServiceError(CorralError):
    """The layout has no such service."""

    code: ClassVar[str] = "deploy.unknown_service"
    kind: ClassVar[Kind] = Kind.MISSING


class NoComposeError(CorralError):
    """Docker is not installed here."""

    code: ClassVar[str] = "deploy.no_compose"
    kind: ClassVar[Kind] = Kind.MISSING


class NoPodsError(CorralError):
    """A service has no pods, so it has no log."""

    code: ClassVar[str] = "deploy.no_pods"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


async def print_logs(
    cluster: Logs,
    file: FileText,
    service: str,
    layout: str | None,
    put: Callable[[str], None],
    *,
    follow: bool = False,
    lines: int | None = None,
    previous: bool = False,
) -> None:
    """Print the logs of a service's pods, each line after the pod's name where there are several.

    `follow` goes on until every container has ended. Raises: UnknownServiceError, NoPodsError.
    """
    checked = check_cluster(file)
    key = name_state(namespace_of(checked.cluster))
    state = read_state(await cluster.get(key), checked.cluster.name, key.namespace)
    wanted = make_wanted(checked, choose_layout(checked, state, layout))
    deployed = find_service(wanted, service)
    snapshot = await cluster.observe((POD,), (deployed.namespace,))
    pods = [
        pod["metadata"]["name"]
        for pod in list_pods(wanted, snapshot, deployed.namespace, name_workload(deployed))
        if pod["spec"].get("nodeName")
    ]
    if not pods:
        raise NoPodsError(f"service {service} has no pod that has started", hint="run `corral status`: it says why")
    container = dns_name(deployed.service.name)

    async def print_pod(pod: str) -> None:
        start = f"{pod} | " if len(pods) > 1 else ""
        if not follow:
            for line in (
                await cluster.read_log(deployed.namespace, pod, container, lines=lines, previous=previous)
            ).splitlines():
                put(f"{start}{line}")
            return
        async with cluster.follow_log(deployed.namespace, pod, container, lines=lines) as log:
            async for line in log:
                put(f"{start}{line}")

    results = await asyncio.gather(*map(print_pod, pods), return_exceptions=True)
    for pod, result in zip(pods, results, strict=True):
        if isinstance(result, RefusedError):  # a container that has not started has no log
            put(f"{pod}: {result.what}")
        elif isinstance(result, BaseException):
            raise result


def find_service(wanted: LayoutObjects, service: str) -> Deployed:
    """Find a service of a layout. Raises: UnknownServiceError."""
    known = {deployed.service.name: deployed for deployed in wanted.installation.deployed}
    if service not in known:
        raise UnknownServiceError(
            f"layout {wanted.layout} has no service {service!r}", hint=did_you_mean(service, known)
        )
    return known[service]


def write_compose_command(
    file: ClusterText, service: str, layout: str | None, *, follow: bool, lines: int | None
) -> tuple[str, ...]:
    """Write the command that prints the log of a Compose service of this machine.

    Raises: UnknownServiceError; UnknownLayoutError; NoLayoutError where the layouts call the service differently.
    """
    cluster = file.cluster
    layouts = () if layout is None else (layout,)
    installations = resolve_installations(cluster, source=file.name, text=file.text, layouts=layouts)
    services = [installation.find_service(service) for installation in installations]
    names = sorted({deployed.name for deployed in services if deployed is not None})
    if not names:
        raise UnknownServiceError(f"no layout has a service {service!r}", hint=did_you_mean(service, cluster.services))
    if len(names) > 1:
        raise NoLayoutError(
            f"layouts call service {service} {' and '.join(names)}", where=file.name, hint="name one: --layout NAME"
        )
    words = ("docker", "compose", "--project-name", name_project(cluster.name), "logs", "--no-log-prefix")
    options = (*(("--follow",) if follow else ()), *(() if lines is None else ("--tail", str(lines))))
    return (*words, *options, names[0])
