"""The doors of Corral's own server in a layout, and the addresses of engines that lead to them.

An Ollama or a ComfyUI that others reach directly does their work past the queue, and a common address of several
reaches one of them. So where a layout has a service of `kind: corral`, others on Kubernetes get the address of its
door: a listener of its own (`gateway.ollama`) where the file has one that other machines can reach, else the main port.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corral.cluster.values import Cluster, ServiceKind
from corral.engine_kinds import COMFYUI, OLLAMA

if TYPE_CHECKING:
    from corral.rendering.installation import Deployed

KEY_VARIABLE = "CORRAL_API_KEY"
"""The variable of callers with a token of the server, for doors that ask for one."""
FRONTEND = "frontend"
"""The key in `gateway` of the port for pages."""
_PATHS: Mapping[str, str] = {OLLAMA.name: "", COMFYUI.name: "/comfyui"}
"""The paths of doors on the main port, by engine; clients of Ollama add `/api` themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A door of a layout's server, for the clients of one engine."""

    engine: str
    server: Deployed
    port: int
    path: str
    is_keyless: bool
    """Whether it answers requests without a key."""
    is_listener: bool
    """Whether it has a port of its own, and so is all of the engine's API to its clients."""


def find_server(services: Iterable[Deployed]) -> Deployed | None:
    """Find Corral's own server among the services of a layout."""
    return next((deployed for deployed in services if deployed.service.kind is ServiceKind.CORRAL), None)


def find_door(cluster: Cluster, services: Iterable[Deployed], target: Deployed) -> Door | None:
    """Find the door through which others reach an engine; None where they reach it directly."""
    engine = next((name for name in target.service.engines if name in _PATHS), None)
    server = find_server(services)
    if engine is None or server is None or server.port is None or target.service.direct or target.host is not None:
        return None
    port = list_door_ports(cluster).get(engine)
    listener = cluster.gateway.listeners.get(engine)
    return Door(
        engine=engine,
        server=server,
        port=server.port if port is None else port,
        path=_PATHS[engine] if port is None else "",
        is_keyless=port is not None and listener is not None and listener.is_keyless,
        is_listener=port is not None,
    )


def list_door_ports(cluster: Cluster) -> Mapping[str, int]:
    """List the ports of a server, in addition to its main one, that others can reach, by their keys in `gateway`."""
    frontend = cluster.gateway.frontend
    reachable = {name: listener.port for name, listener in cluster.gateway.listeners.items() if listener.allow}
    return reachable if frontend is None else {**reachable, FRONTEND: frontend.port}


def choose_page_port(cluster: Cluster, server: Deployed) -> int | None:
    """Choose the port of a server that people open: that of `gateway.frontend` where there is one."""
    return list_door_ports(cluster).get(FRONTEND, server.port)
