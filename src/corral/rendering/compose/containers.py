"""Containers in the notation of Compose, and their volumes.

A volume is a folder if the cluster file gives a path on this machine, NFS mounted by Docker, or a volume of Docker.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from corral.cluster.values import Node, Service, ServiceKind, Storage, StorageKind
from corral.container_images import find_image
from corral.hardware.makers import NVIDIA
from corral.rendering.compose.interpolation import default_variable, join_parts, require_variable
from corral.rendering.compose.machines import Unit
from corral.rendering.compose.networks import Network
from corral.rendering.config_files import ConfigFiles
from corral.rendering.container_settings import (
    NFS_OPTIONS,
    SHARED_MEMORY_BYTES,
    calculate_memory_limit,
    find_nfs_server,
    is_job,
    list_placement_settings,
    make_launch_command,
    needs_shared_memory,
)
from corral.rendering.documents import Json
from corral.rendering.installation import Deployed, Installation
from corral.rendering.makers import ACCESS, is_jetson
from corral.rendering.model_pull import ModelPull, forecast_start_time
from corral.rendering.programs import image_of, list_own_volumes, mount_paths, program_of

ON_DEMAND = "on-demand"
JOBS = "jobs"
_SHARED_MEMORY = f"{SHARED_MEMORY_BYTES // 2**30}gb"
_HTTP_CLIENTS = frozenset({"curl", "wget", "python3"})
_PYTHON_REQUEST = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=4)"


def build_container(
    installation: Installation, network: Network, unit: Unit, deployed: Deployed, configuration: ConfigFiles | None
) -> dict[str, Json]:
    """The container of a service; files of its `configuration` are in a folder with its name."""
    name = unit.name_container(deployed)
    files: list[Json] = []
    if configuration is not None:
        files.append({"type": "bind", "source": f"./{name}", "target": configuration.folder, "read_only": True})
    fields: dict[str, Json] = {
        "image": image_of(deployed.service),
        **_choose_command(installation, deployed, configuration),
        **_choose_user(deployed),
        "restart": "no" if is_job(deployed) else "unless-stopped",
        "profiles": _list_profiles(unit, deployed),
        "init": True,
        "stop_grace_period": "60s",
        "environment": _build_environment(installation, network, unit, deployed),
        **_attach_network(network, unit, deployed),
        "volumes": [*_build_mounts(unit, deployed), *files],
        **_restrict_privileges(deployed),
        **_hand_in_devices(unit, deployed),
        "healthcheck": _build_health_check(deployed),
        "shm_size": _SHARED_MEMORY if needs_shared_memory(deployed) else None,
        "deploy": _build_resources(unit, deployed),
    }
    return {key: value for key, value in fields.items() if value not in (None, [], {})}


def build_filling_container(
    installation: Installation, unit: Unit, deployed: Deployed, filling: ModelPull
) -> dict[str, Json]:
    """The container that fills the volume of a service before it starts, and ends."""
    return {
        "image": filling.image,
        "entrypoint": ["sh", "-c", filling.script],
        "restart": "no",
        **({"profiles": profiles} if (profiles := _list_profiles(unit, deployed)) else {}),
        **({"environment": dict(filling.env)} if filling.env else {}),
        "volumes": _build_mounts(unit, deployed)[:1],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }


def build_volumes(installation: Installation, units: Sequence[Unit]) -> dict[str, Json]:
    """The volumes that Docker keeps, by name; Compose puts the project's name before each."""
    return {name: _build_volume(installation, use) for use in _list_uses(units) if (name := use.volume) is not None}


def list_volume_notes(units: Sequence[Unit]) -> list[str]:
    """Differences between volumes here and in the cluster file, and folders that are made by hand."""
    notes: dict[str, None] = {}
    for use in _list_uses(units):
        storage = use.storage
        if storage.kind is StorageKind.EPHEMERAL:
            notes[f"{storage.name} stays until `docker compose down --volumes` removes it."] = None
        if storage.kind is StorageKind.LOCAL and storage.path is None:
            notes[f"{storage.name} is a volume of Docker's, since the file gives no path for it."] = None
        if use.own is not None and use.folder is None and storage.kind is StorageKind.NFS:
            place = shlex.quote(f"{(storage.path or '<path>').rstrip('/')}/{use.own}")
            notes[f"Before the first start, on the server of {storage.name}: mkdir -p {place}"] = None
    return list(notes)


def _choose_command(
    installation: Installation, deployed: Deployed, configuration: ConfigFiles | None
) -> dict[str, Json]:
    command = make_launch_command(installation, deployed) or deployed.service.command
    if command:
        return {"entrypoint": list(command)}
    if configuration is None:
        return {}
    return {
        **({"entrypoint": list(configuration.command)} if configuration.command else {}),
        **({"command": list(configuration.args)} if configuration.args else {}),
    }


def _choose_user(deployed: Deployed) -> dict[str, Json]:
    user = program_of(deployed.service).user
    return {} if user is None else {"user": f"{user}:{user}"}


def _list_profiles(unit: Unit, deployed: Deployed) -> list[str]:
    if is_job(deployed):
        return [JOBS]
    return [ON_DEMAND] if unit.on_demand else []


def _build_environment(installation: Installation, network: Network, unit: Unit, deployed: Deployed) -> dict[str, str]:
    return {
        **list_placement_settings(installation, unit.members, deployed),
        **dict(sorted(network.translate_environment(unit, deployed).items())),
        **{name: require_variable(name, "set it in .env") for name in deployed.secrets},
    }


def _attach_network(network: Network, unit: Unit, deployed: Deployed) -> dict[str, Json]:
    """Containers of a unit share the network of the first, like those of a pod; the first publishes all ports."""
    if deployed is not unit.members[0]:
        return {"network_mode": f"service:{unit.host}"}
    names = [deployed.name] if unit.replica is not None and not deployed.has_addresses_of_replicas else []
    return {
        "ports": network.list_ports(unit),
        **({"networks": {"default": {"aliases": names}}} if names else {}),
    }


def _restrict_privileges(deployed: Deployed) -> dict[str, Json]:
    """No capability and no way to get one; a read-only file system if the paths that the program writes are known."""
    read_only = {"read_only": True, "tmpfs": ["/tmp"]} if deployed.service.kind is ServiceKind.NGINX else {}
    return {**read_only, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}


def _hand_in_devices(unit: Unit, deployed: Deployed) -> dict[str, Json]:
    """Device files and groups for GPUs that no runtime of Docker hands in; NVIDIA's runtime for a Jetson.

    A Jetson's driver is not the one that `driver: nvidia` looks for (NVIDIA Container Toolkit, Jetson).
    """
    if not deployed.gpu_count:
        return {}
    if is_jetson(unit.node):
        return {"runtime": "nvidia"}
    access = ACCESS[unit.maker]
    groups = [default_variable(f"{group.upper()}_GROUP", group) for group in access.groups]
    return {"devices": [f"{path}:{path}" for path in access.devices], "group_add": groups}


def list_device_notes(unit: Unit) -> list[str]:
    """Say where the groups of device files come from; nothing for NVIDIA's."""
    groups = ACCESS[unit.maker].groups
    if not groups or not any(member.gpu_count for member in unit.members):
        return []
    lines = " and ".join(f"{group.upper()}_GROUP=$(getent group {group} | cut -d: -f3)" for group in groups)
    return [f"Where the image of {unit.host} has no groups {' and '.join(groups)}, put their numbers in .env: {lines}"]


def _build_health_check(deployed: Deployed) -> dict[str, Json] | None:
    test = _choose_health_test(deployed.service, deployed.port)
    if test is None:
        return None
    start_period = f"{forecast_start_time(deployed)}s"
    return {"test": test, "interval": "30s", "timeout": "5s", "retries": 3, "start_period": start_period}


def _choose_health_test(service: Service, port: int | None) -> list[str] | None:
    """A test inside of the container, with programs of its image: some have none of the common ones."""
    facts = find_image(image_of(service) or "")
    if facts is not None and (facts.health or facts.missing_tools >= _HTTP_CLIENTS):
        return list(facts.health) or None
    path = service.health_path or program_of(service).health_path
    if path is None or port is None:
        return None
    url = shlex.quote(f"http://127.0.0.1:{port}{path}")
    python = f"python3 -c {shlex.quote(_PYTHON_REQUEST)} {url}"
    return ["CMD-SHELL", f"curl -fsS -o /dev/null {url} || wget -q -O /dev/null {url} || {python}"]


def _build_resources(unit: Unit, deployed: Deployed) -> dict[str, Json]:
    limit = calculate_memory_limit(deployed)
    resources: dict[str, Json] = {}
    if limit is not None:
        resources["limits"] = {"memory": str(limit)}
    if deployed.gpu_count and unit.maker == NVIDIA and not is_jetson(unit.node):
        gpus = {"driver": "nvidia", "device_ids": list(unit.gpus), "capabilities": ["gpu"]}
        resources["reservations"] = {"devices": [gpus]}
    return {"resources": resources} if resources else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """The use of a storage by a container."""

    storage: Storage
    node: Node
    own: str | None
    """The folder in it that is the container's alone: its name; None where it uses the whole."""

    @property
    def folder(self) -> str | None:
        """The folder on this machine: a local volume's, or that of an export of the machine itself."""
        is_here = self.storage.node == self.node.name and self.storage.kind in (StorageKind.LOCAL, StorageKind.NFS)
        if not is_here or self.storage.path is None:
            return None
        return self.storage.path if self.own is None else f"{self.storage.path.rstrip('/')}/{self.own}"

    @property
    def volume(self) -> str | None:
        """The volume of Docker; None where it is a folder."""
        if self.folder is not None:
            return None
        return self.storage.name if self.own is None else f"{self.storage.name}-{self.own}"


def _list_uses(units: Iterable[Unit]) -> Iterator[_Use]:
    for unit in units:
        for deployed in unit.members:
            yield from _list_uses_of(unit, deployed)


def _list_uses_of(unit: Unit, deployed: Deployed) -> Iterator[_Use]:
    own = list_own_volumes(deployed.service, [storage.name for storage in deployed.storage])
    for storage in deployed.storage:
        name = unit.name_container(deployed) if storage.name in own else None
        yield _Use(storage=storage, node=unit.node, own=name)


def _build_mounts(unit: Unit, deployed: Deployed) -> list[Json]:
    paths = mount_paths(deployed.service, [storage.name for storage in deployed.storage])
    return [_build_mount(use, paths[use.storage.name]) for use in _list_uses_of(unit, deployed)]


def _build_mount(use: _Use, target: str) -> Json:
    if use.folder is None:
        return {"type": "volume", "source": use.volume, "target": target}
    mount: dict[str, Json] = {"type": "bind", "source": use.folder, "target": target}
    return mount if use.own is None else mount | {"bind": {"create_host_path": True}}


def _build_volume(installation: Installation, use: _Use) -> Json:
    storage = use.storage
    if storage.kind is not StorageKind.NFS:
        return {}
    variable = storage.name.upper().replace("-", "_").replace(".", "_")
    server = find_nfs_server(installation.cluster, storage) or require_variable(
        f"{variable}_SERVER", f"the host that exports {storage.name}"
    )
    options = ",".join(storage.mount_options or NFS_OPTIONS)
    path = storage.path or require_variable(f"{variable}_PATH", f"the path of {storage.name} on its server")
    return {
        "driver": "local",
        "driver_opts": {
            "type": "nfs",
            "o": join_parts("addr=", server, f",{options}"),
            "device": join_parts(":", path, f"/{use.own}" if use.own else ""),
        },
    }
