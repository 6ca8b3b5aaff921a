"""Projects: a Compose file for each machine of a layout, since a project runs on one machine.

`docker compose --file compose/<layout>/<node>.yaml up --detach` starts one. Every file of a cluster has the same
project name: a change to another layout with `--remove-orphans` stops the services that it does not have, and volumes
stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corral.rendering.compose import containers
from corral.rendering.compose.interpolation import escape_values
from corral.rendering.compose.machines import Machines, Unit, assign_machines
from corral.rendering.compose.networks import Network
from corral.rendering.config_files import ConfigFiles, render_config_files
from corral.rendering.container_settings import is_job
from corral.rendering.documents import Json, write_document
from corral.rendering.installation import Deployed, Installation
from corral.rendering.maker_notes import list_native_notes
from corral.rendering.model_pull import make_model_pull
from corral.rendering.programs import list_image_notes

_DNS = "127.0.0.11"
"""Docker's name server in every network of Compose (Docker documentation, networking, DNS services)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A service of a unit, with the configuration files of its program."""

    unit: Unit
    deployed: Deployed
    configuration: ConfigFiles | None

    @property
    def container(self) -> str:
        """The name of its container."""
        return self.unit.name_container(self.deployed)


def render_projects(installation: Installation) -> Mapping[str, str]:
    """Render the files of a layout: one for each machine, and configuration files of programs in folders next to it.

    Returns:
        Texts by path.
    """
    folder = f"compose/{installation.name}"
    machines = assign_machines(installation)
    network = Network(installation, machines)
    files: dict[str, str] = {}
    for node in installation.cluster.nodes:
        units = [unit for unit in machines.units if unit.node == node]
        if units:
            # Rendered once for both: the container mounts the folder, and the folder holds the files.
            members = _list_members(installation, network, units)
            files[f"{folder}/{node.name}.yaml"] = _render_project(installation, network, machines, units, members)
            files |= {
                f"{folder}/{member.container}/{name}": text
                for member in members
                if member.configuration is not None
                for name, text in member.configuration.files.items()
            }
    return files


def list_left_out(installation: Installation) -> list[str]:
    """List the services of a layout that no Compose file has, with the reasons, and those that need no container."""
    unplaced = [f"Not in the Compose files: {text}" for text in assign_machines(installation).left_out]
    images = list_image_notes({deployed.name: deployed.service for deployed in installation.deployed})
    return [*images, *unplaced, *list_native_notes(installation)]


def _list_members(installation: Installation, network: Network, units: Sequence[Unit]) -> list[_Member]:
    return [
        _Member(unit=unit, deployed=deployed, configuration=_configure(installation, network, unit, deployed))
        for unit in units
        for deployed in unit.members
    ]


def _configure(installation: Installation, network: Network, unit: Unit, deployed: Deployed) -> ConfigFiles | None:
    return render_config_files(
        installation, deployed, lambda target: network.list_addresses(unit, target), resolver=_DNS
    )


def _render_project(
    installation: Installation,
    network: Network,
    machines: Machines,
    units: Sequence[Unit],
    members: Sequence[_Member],
) -> str:
    node = units[0].node
    services: dict[str, Json] = {}
    for member in members:
        services |= _build_services(installation, network, member)
    volumes = containers.build_volumes(installation, units)
    project: dict[str, Json] = {"name": name_project(installation.cluster.name), "services": services}
    if volumes:
        project["volumes"] = volumes
    start = f"docker compose --file {node.name}.yaml"
    notes = [
        f"Start it on {node.name}: {start} up --detach --remove-orphans",
        *_list_notes(machines, units, start),
        *(note for unit in units for note in network.list_notes(unit)),
        *(note for unit in units for note in containers.list_device_notes(unit)),
        *list_native_notes(installation),
        *containers.list_volume_notes(units),
    ]
    return write_document(installation, escape_values(project), *notes)


def _build_services(installation: Installation, network: Network, member: _Member) -> dict[str, Json]:
    """The container of a service, after the container that fills its volume, if there is one."""
    container = containers.build_container(installation, network, member.unit, member.deployed, member.configuration)
    filling = make_model_pull(installation, member.deployed)
    if filling is None:
        return {member.container: container}
    name = f"{member.container}-{filling.name.partition('-')[0]}"
    container["depends_on"] = {name: {"condition": "service_completed_successfully"}}
    return {
        name: containers.build_filling_container(installation, member.unit, member.deployed, filling),
        member.container: container,
    }


def _list_notes(machines: Machines, units: Sequence[Unit], start: str) -> list[str]:
    notes = [f"Left out: {text}" for text in (*machines.without_image, *machines.left_out)]
    for unit in units:
        reason = machines.chosen.get(unit.host)
        if reason is not None:
            notes.append(f"{unit.host} is here because the file leaves its machine open: {reason}.")
        if any(is_job(member) for member in unit.members):
            notes.append(f"Run {unit.host} by hand: {start} --profile {containers.JOBS} run --rm {unit.host}")
        elif unit.on_demand:
            notes.append(
                f"{unit.host} takes turns on a GPU that others use: stop those, then start it with "
                f"{start} --profile {containers.ON_DEMAND} up --detach {unit.host}"
            )
    return notes


def name_project(cluster: str) -> str:
    """Name a project, with the characters that Compose accepts."""
    return re.sub(r"[^a-z0-9_-]+", "-", cluster.lower()).strip("-_") or "corral"
