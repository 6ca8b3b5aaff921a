"""Compose services for servers of instances with an image: a project for each machine, next to those of the layouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from corral.container_images import find_image
from corral.engine_kinds import ENGINES
from corral.hardware.makers import NVIDIA, find_maker
from corral.presets.catalogue import list_lane_arguments, list_lane_variables
from corral.rendering.compose.interpolation import escape_values, require_variable
from corral.rendering.compose.projects import name_project
from corral.rendering.documents import Json, write_document
from corral.rendering.installation import Installation
from corral.rendering.instances import LOOPBACK, PORT, STOP_S, InstanceServer, list_servers
from corral.rendering.makers import ACCESS


def render_instance_projects(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render a Compose project for each machine with servers of instances whose images are known.

    Returns:
        Texts by path.
    """
    installation = replace(installations[0], layout=None)
    by_place: dict[str, list[InstanceServer]] = {}
    for server in list_servers(installation.cluster):
        if server.image is not None:
            by_place.setdefault(server.place, []).append(server)
    return {
        f"compose/instances/{place}.yaml": _render_project(installation, place, servers)
        for place, servers in by_place.items()
    }


def _render_project(installation: Installation, place: str, servers: list[InstanceServer]) -> str:
    urls = [f"{server.name}: `url: http://{LOOPBACK}:{server.port}`" for server in servers]
    notes = [
        f"1. Start it on {place}: docker compose --file {place}.yaml up --detach",
        f"2. In the cluster file, put these in the place of `run`: {', '.join(urls)}",
    ]
    project: dict[str, Json] = {
        "name": f"{name_project(installation.cluster.name)}-instances",
        "services": {server.name: _build_service(server) for server in servers},
        "volumes": {
            volume.partition(":")[0]: {}
            for server in servers
            if server.run.container is None
            for volume in _list_volumes(server)
            if volume.startswith(f"{server.name}:")
        },
    }
    if not project["volumes"]:
        del project["volumes"]
    return write_document(installation, escape_values(project), *notes)


def _build_service(server: InstanceServer) -> dict[str, Json]:
    facts = find_image(server.image or "")
    inside = server.usual_port
    of_lanes = {} if server.preset is None else list_lane_variables(server.preset, server.lanes)
    settings = of_lanes | {name: value.replace(PORT, str(inside)) for name, value in server.run.env.items()}
    secrets = {name: require_variable(variable, "set it in .env") for name, variable in server.run.env_from.items()}
    fields: dict[str, Json] = {
        "image": server.image,
        "command": [word.replace(PORT, str(inside)) for word in _list_arguments(server)],
        "restart": "unless-stopped",
        "init": True,
        "stop_grace_period": f"{STOP_S}s",
        "environment": {**settings, **secrets},
        "ports": [f"{LOOPBACK}:{server.port}:{inside}"],
        "volumes": _list_volumes(server),
        "healthcheck": {"test": list(facts.health)} if facts is not None and facts.health else None,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        **_hand_in_gpu(server),
    }
    return {key: value for key, value in fields.items() if value not in (None, [], {})}


def _list_arguments(server: InstanceServer) -> tuple[str, ...]:
    """List the arguments of the image's program; without any of the instance, the image has its own."""
    if not server.run.arguments:
        return ()
    preset = server.preset
    own = () if preset is None else preset.start.arguments + list_lane_arguments(preset, server.lanes)
    return own + server.run.arguments


def _list_volumes(server: InstanceServer) -> list[str]:
    """List the folders that the cluster file names, or a volume for what the program keeps."""
    if server.run.container is not None:
        return list(server.run.container.volumes)
    facts = find_image(server.image or "")
    kept = [server.run.env.get(name, "") for name in (facts.folder_variables if facts is not None else ())]
    if folders := [folder for folder in kept if folder.startswith("/")]:
        return [f"{folder}:{folder}" for folder in folders]  # a variable names the same folder in the container
    program = ENGINES[server.engine].program
    return [] if program is None else [f"{server.name}:{program.data_path}"]


def _hand_in_gpu(server: InstanceServer) -> dict[str, Json]:
    if server.instance.gpu is None:
        return {}
    access = ACCESS[(find_maker(server.gpu) if server.gpu is not None else None) or NVIDIA]
    if access.devices:
        return {"devices": [f"{path}:{path}" for path in access.devices], "group_add": list(access.groups)}
    identity = (server.gpu.uuid if server.gpu is not None else None) or str(server.instance.gpu)
    devices = [{"driver": "nvidia", "device_ids": [identity], "capabilities": ["gpu"]}]
    return {"deploy": {"resources": {"reservations": {"devices": devices}}}}
