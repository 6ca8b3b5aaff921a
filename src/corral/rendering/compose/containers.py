"""Containers as Compose describes them."""

from __future__ import annotations

import shlex

from corral.cluster.values import Service, ServiceKind
from corral.rendering.compose.interpolation import wanted
from corral.rendering.compose.machines import Unit, is_job
from corral.rendering.compose.networks import Network
from corral.rendering.compose.volumes import mounts
from corral.rendering.configured import Configured
from corral.rendering.documents import Json
from corral.rendering.filling import Filling
from corral.rendering.installation import Deployed, Installation
from corral.rendering.loading import seconds_to_load
from corral.rendering.placed import SHARED_MEMORY_BYTES, memory_limit, needs_shared_memory, placed_settings
from corral.rendering.programs import image_of, program_of
from corral.rendering.training import launched

ON_DEMAND = "on-demand"
JOBS = "jobs"
_SHARED_MEMORY = f"{SHARED_MEMORY_BYTES // 2**30}gb"
_SHORTEST_START_S = 120
_PATIENCE = 3
"""How many times the forecast load time a start may take before it counts as failed: disks are shared."""
_ASKED = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=4)"


def container(
    installation: Installation, network: Network, unit: Unit, one: Deployed, told: Configured | None
) -> dict[str, Json]:
    """The container of a service; `told` is what it reads from files, which lie in a folder of its name."""
    name = unit.name_of(one)
    files = [{"type": "bind", "source": f"./{name}", "target": told.folder, "read_only": True}] if told else []
    fields: dict[str, Json] = {
        "image": image_of(one.service),
        **_started(installation, one, told),
        **_user(one),
        "restart": "no" if is_job(one) else "unless-stopped",
        "profiles": _profiles(unit, one),
        "init": True,
        "stop_grace_period": "60s",
        "environment": _environment(installation, network, unit, one),
        **_network(network, unit, one),
        "volumes": [*mounts(installation, unit.node, one), *files],
        **_security(one),
        "healthcheck": _health(one),
        "shm_size": _SHARED_MEMORY if needs_shared_memory(one) else None,
        "deploy": _resources(unit, one),
    }
    return {key: value for key, value in fields.items() if value not in (None, [], {})}


def filling_container(installation: Installation, unit: Unit, one: Deployed, filling: Filling) -> dict[str, Json]:
    """What fills the volume of a service before it starts, and ends."""
    return {
        "image": filling.image,
        "entrypoint": ["sh", "-c", filling.script],
        "restart": "no",
        **({"profiles": profiles} if (profiles := _profiles(unit, one)) else {}),
        **({"environment": dict(filling.env)} if filling.env else {}),
        "volumes": mounts(installation, unit.node, one)[:1],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }


def _started(installation: Installation, one: Deployed, told: Configured | None) -> dict[str, Json]:
    command = launched(installation, one) or one.service.command
    if command:
        return {"entrypoint": list(command)}
    if told is None:
        return {}
    return {
        **({"entrypoint": list(told.command)} if told.command else {}),
        **({"command": list(told.args)} if told.args else {}),
    }


def _user(one: Deployed) -> dict[str, Json]:
    user = program_of(one.service).user
    return {} if user is None else {"user": f"{user}:{user}"}


def _profiles(unit: Unit, one: Deployed) -> list[str]:
    if is_job(one):
        return [JOBS]
    return [ON_DEMAND] if unit.on_demand else []


def _environment(installation: Installation, network: Network, unit: Unit, one: Deployed) -> dict[str, str]:
    return {
        **placed_settings(installation, unit.members, one),
        **dict(sorted(network.environment(unit, one).items())),
        **{name: wanted(name, "set it in .env") for name in one.secrets},
    }


def _network(network: Network, unit: Unit, one: Deployed) -> dict[str, Json]:
    """Containers of a unit share the network of the first, as those of a pod do; it has the ports of all."""
    if one is not unit.members[0]:
        return {"network_mode": f"service:{unit.host}"}
    names = [one.name] if unit.replica is not None and not one.has_addresses_of_replicas else []
    return {
        "ports": network.ports(unit),
        **({"networks": {"default": {"aliases": names}}} if names else {}),
    }


def _security(one: Deployed) -> dict[str, Json]:
    """No capability and no way to get one; a read-only file system where it is known what the program writes."""
    read_only = {"read_only": True, "tmpfs": ["/tmp"]} if one.service.kind is ServiceKind.NGINX else {}
    return {**read_only, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}


def _health(one: Deployed) -> dict[str, Json] | None:
    test = _test(one.service, one.port)
    if test is None:
        return None
    limit = max(_SHORTEST_START_S, _PATIENCE * seconds_to_load(one))
    return {"test": test, "interval": "30s", "timeout": "5s", "retries": 3, "start_period": f"{limit}s"}


def _test(service: Service, port: int | None) -> list[str] | None:
    """Ask inside of the container, with what is in its image: Ollama's has none of the usual programs."""
    if "ollama" in service.engines and service.image is None:
        return ["CMD", "ollama", "list"]
    path = service.health_path or program_of(service).health_path
    if path is None or port is None:
        return None
    url = shlex.quote(f"http://127.0.0.1:{port}{path}")
    return [
        "CMD-SHELL",
        f"curl -fsS -o /dev/null {url} || wget -q -O /dev/null {url} || python3 -c {shlex.quote(_ASKED)} {url}",
    ]


def _resources(unit: Unit, one: Deployed) -> dict[str, Json]:
    limit = memory_limit(one)
    resources: dict[str, Json] = {}
    if limit is not None:
        resources["limits"] = {"memory": str(limit)}
    if one.gpu_count:
        cards = {"driver": "nvidia", "device_ids": list(unit.cards), "capabilities": ["gpu"]}
        resources["reservations"] = {"devices": [cards]}
    return {"resources": resources} if resources else {}
