"""Compose files for people without Kubernetes: one for each machine of a layout, since a project runs on one machine.

`docker compose --file compose/<layout>/<node>.yaml up --detach` starts one. Every file of a cluster has the same
project name: going to another layout with `--remove-orphans` stops what that does not have, and volumes stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from corral.rendering.compose import volumes
from corral.rendering.compose.containers import JOBS, ON_DEMAND, container, filling_container
from corral.rendering.compose.interpolation import escaped
from corral.rendering.compose.machines import Machines, Unit, is_job, machines_of
from corral.rendering.compose.networks import Network
from corral.rendering.configured import Configured, configured
from corral.rendering.documents import Json, document
from corral.rendering.filling import filling_of
from corral.rendering.installation import Deployed, Installation

_DNS = "127.0.0.11"
"""Docker's name server in every network of Compose (Docker documentation, networking, DNS services)."""


def files(installation: Installation) -> Mapping[str, str]:
    """The files of a layout: one for each machine, and what its programs are configured by, in folders beside it."""
    folder = f"compose/{installation.name}"
    machines = machines_of(installation)
    network = Network(installation, machines)
    found: dict[str, str] = {}
    for node in installation.cluster.nodes:
        units = [unit for unit in machines.units if unit.node == node]
        if units:
            found[f"{folder}/{node.name}.yaml"] = _project(installation, network, machines, units)
            found |= _configurations(installation, network, units, folder)
    return found


def _project(installation: Installation, network: Network, machines: Machines, units: list[Unit]) -> str:
    node = units[0].node
    services: dict[str, Json] = {}
    for unit in units:
        for one in unit.members:
            services |= _services(installation, network, unit, one)
    used = {storage.name: storage for unit in units for one in unit.members for storage in one.storage}
    kept = volumes.named(installation, node, used.values())
    value: dict[str, Json] = {"name": _project_name(installation.cluster.name), "services": services}
    if kept:
        value["volumes"] = kept
    start = f"docker compose --file {node.name}.yaml"
    notes = [
        f"Start it on {node.name}: {start} up --detach --remove-orphans",
        *_notes(machines, units, start),
        *(note for unit in units for note in network.notes(unit)),
        *(note for storage in used.values() for note in volumes.notes(storage, node)),
    ]
    return document(installation, escaped(value), *notes)


def _services(installation: Installation, network: Network, unit: Unit, one: Deployed) -> dict[str, Json]:
    """The container of a service, after the one that fills its volume, if there is one."""
    entry = container(installation, network, unit, one, _told(installation, network, unit, one))
    filling = filling_of(installation, one)
    if filling is None:
        return {unit.name_of(one): entry}
    name = f"{unit.name_of(one)}-{filling.name.partition('-')[0]}"
    entry["depends_on"] = {name: {"condition": "service_completed_successfully"}}
    return {name: filling_container(installation, unit, one, filling), unit.name_of(one): entry}


def _configurations(installation: Installation, network: Network, units: list[Unit], folder: str) -> dict[str, str]:
    """Files of programs, in a folder of the container's name."""
    return {
        f"{folder}/{unit.name_of(one)}/{name}": text
        for unit in units
        for one in unit.members
        if (told := _told(installation, network, unit, one)) is not None
        for name, text in told.files.items()
    }


def _told(installation: Installation, network: Network, unit: Unit, one: Deployed) -> Configured | None:
    return configured(installation, one, lambda target: network.reach(unit, target), resolver=_DNS)


def _notes(machines: Machines, units: list[Unit], start: str) -> list[str]:
    notes = [f"Left out: {text}" for text in machines.left_out]
    for unit in units:
        reason = machines.chosen.get(unit.host)
        if reason is not None:
            notes.append(f"{unit.host} is here because the file leaves its machine open: {reason}.")
        if any(is_job(one) for one in unit.members):
            notes.append(f"{unit.host} runs when it is asked to: {start} --profile {JOBS} run --rm {unit.host}")
        elif unit.on_demand:
            notes.append(
                f"{unit.host} takes its turn on a card that others use: stop those, then start it with "
                f"{start} --profile {ON_DEMAND} up --detach {unit.host}"
            )
    return notes


def _project_name(name: str) -> str:
    """The name of the project, of letters that Compose accepts."""
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "corral"
