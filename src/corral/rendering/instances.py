"""Servers of instances that Corral runs (`run`), written for a machine that is to own them: systemd units and Compose.

A unit is one of the user's own systemd, because a program in a home directory is the user's. A program with an image
becomes a service of a Compose project of its own, next to those of the layouts. Both listen on loopback alone. Their
headers have what replaces `run` in the cluster file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from corral.cluster.run_values import Run
from corral.cluster.values import Cluster, Gpu, Instance, Node
from corral.container_images import find_image
from corral.engine_kinds import ENGINES
from corral.hardware.makers import NVIDIA, find_maker
from corral.presets.catalogue import Preset, build_command, list_presets, list_variables
from corral.rendering.compose.interpolation import escape_values
from corral.rendering.documents import Json, write_document, write_header
from corral.rendering.installation import Installation
from corral.rendering.makers import ACCESS, IMAGES
from corral.rendering.systemd import Setting, escape_word, format_unit

_LOOPBACK = "127.0.0.1"
_PORT = "{port}"
_HOME = "~"
_UNIT_HOME = "%h"
"""systemd's specifier for the user's home directory (systemd.unit)."""
_STOP_S = 60
"""As for Corral's own server: what it started ends in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """An instance with `run`, and where it is written to run."""

    engine: str
    instance: Instance
    run: Run
    preset: Preset | None
    node: Node | None
    gpu: Gpu | None
    port: int | None
    """None where neither the file nor a preset has one."""

    @property
    def name(self) -> str:
        """Its name as a unit and as a service: `comfyui-desk`."""
        return re.sub(r"[^a-z0-9_-]+", "-", f"{self.engine}-{self.instance.name}".lower()).strip("-")

    @property
    def place(self) -> str:
        """The folder or the file of its machine."""
        return self.node.name if self.node is not None else "any"

    @property
    def is_program(self) -> bool:
        """Whether it is a program of the machine; units have these alone."""
        return self.preset is not None or bool(self.run.command)

    @property
    def image(self) -> str | None:
        """The image of its program; None where none is known."""
        if self.run.container is not None:
            return self.run.container.image
        program = ENGINES[self.engine].program
        if self.preset is None or program is None or program.image is None:
            return None
        maker = find_maker(self.gpu) if self.gpu is not None else None
        return program.image + IMAGES.get(self.engine, {}).get(maker or NVIDIA, "")


def render_instance_units(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render a unit of the user's systemd for each server of an instance.

    Returns:
        Texts by path.
    """
    installation = replace(installations[0], layout=None)
    return {
        f"systemd/{server.place}/{server.name}.service": _render_unit(installation, server)
        for server in _list_servers(installation.cluster)
        if server.is_program and server.port is not None
    }


def render_instance_projects(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render a Compose project for each machine with servers of instances whose images are known.

    Returns:
        Texts by path.
    """
    installation = replace(installations[0], layout=None)
    by_place: dict[str, list[_Server]] = {}
    for server in _list_servers(installation.cluster):
        if server.image is not None:
            by_place.setdefault(server.place, []).append(server)
    return {
        f"compose/instances/{place}.yaml": _render_project(installation, place, servers)
        for place, servers in by_place.items()
    }


def list_unit_notes(installation: Installation) -> list[str]:
    """List the servers of instances that no unit has."""
    return [
        f"No systemd unit has {server.name}, since its port is open: add `port` to its `run`."
        for server in _list_servers(installation.cluster)
        if server.is_program and server.port is None
    ]


def _list_servers(cluster: Cluster) -> Iterator[_Server]:
    """List the instances with `run`; those of a preset or an image without a port get its own and the next ones."""
    nodes = {node.name: node for node in cluster.nodes}
    given: Counter[tuple[str | None, int]] = Counter()
    for engine, settings in cluster.engines.items():
        for instance in settings.instances:
            if instance.run is None:
                continue
            node = nodes.get(instance.node or "")
            preset = None if instance.run.preset is None else list_presets()[instance.run.preset]
            port, usual = instance.run.port, _find_usual_port(engine, instance.run, preset)
            if port is None and usual is not None:
                port = usual + given[instance.node, usual]
                given[instance.node, usual] += 1
            gpus = node.gpus or () if node is not None else ()
            yield _Server(
                engine=engine,
                instance=instance,
                run=instance.run,
                preset=preset,
                node=node,
                gpu=next((gpu for gpu in gpus if gpu.index == instance.gpu), None),
                port=port,
            )


def _find_usual_port(engine: str, run: Run, preset: Preset | None) -> int | None:
    """Return the port on which its program listens by default; None where that is unknown."""
    if preset is not None:
        return preset.listens.port
    program = ENGINES[engine].program
    usual = program.port if program is not None else None
    return (run.container.port or usual) if run.container is not None else None


# --- systemd -----------------------------------------------------------------------------------------------------


def _render_unit(installation: Installation, server: _Server) -> str:
    unit = f"{server.name}.service"
    notes = [
        f"1. Copy it to ~/.config/systemd/user/ of the user who runs Corral on {server.place}, and",
        "   `systemctl --user daemon-reload`.",
        f"2. Corral starts and stops it with `run: {{systemd: {unit}, port: {server.port}}}` in the cluster file.",
        f"   Or the machine keeps it running: `systemctl --user enable --now {unit}`, `loginctl enable-linger`,",
        f"   and `url: http://{_LOOPBACK}:{server.port}` in the place of `run`.",
    ]
    if server.preset is not None and len(server.preset.start.programs) > 1:
        notes.append(f"Its program can be in one of several places: {', '.join(server.preset.start.programs)}")
    title = server.preset.title if server.preset is not None else server.engine
    return write_header(installation, *notes) + format_unit(
        (
            ("Unit", (("Description", f"{title} for the instance {server.instance.name} of Corral"),)),
            ("Service", tuple(_list_service_settings(server))),
            ("Install", (("WantedBy", "default.target"),)),
        )
    )


def _list_service_settings(server: _Server) -> Iterator[Setting]:
    yield "Type", "exec"
    yield "WorkingDirectory", _write_folder(server.run.folder or _HOME)
    for name, value in _list_unit_variables(server).items():
        yield "Environment", f'"{name}={_escape_value(value)}"'
    if server.run.env_from:
        yield "#", f"Put {', '.join(server.run.env_from)} in this file, readable by you alone (0600)."
        yield "EnvironmentFile", f"-{_UNIT_HOME}/.config/corral/{server.name}.env"
    if server.gpu is not None and find_maker(server.gpu) not in (NVIDIA, None):
        yield "#", f"Hide the other GPUs from it: docs/concepts/gpus.md names the variables for {server.gpu.model}."
    yield "ExecStart", " ".join(_write_word(word) for word in _make_command(server, host=_LOOPBACK))
    yield "Restart", "on-failure"
    yield "RestartSec", "5s"
    yield "KillMode", "mixed"
    yield "TimeoutStopSec", f"{_STOP_S}s"


def _make_command(server: _Server, *, host: str) -> tuple[str, ...]:
    run = server.run
    words = run.command + run.arguments
    if server.preset is not None:
        words = build_command(
            server.preset,
            host=host,
            folder=run.folder,
            arguments=run.arguments,
            has_gpu=server.instance.gpu is not None,
            exists=lambda _: True,  # the machine is another one: its usual place
        )
    return tuple(word.replace(_PORT, str(server.port)) for word in words)


def _list_unit_variables(server: _Server) -> dict[str, str]:
    own = list_variables(server.preset, host=_LOOPBACK) if server.preset is not None else {}
    variables = {**_list_gpu_variables(server), **own, **server.run.env}
    return {name: value.replace(_PORT, str(server.port)) for name, value in variables.items()}


def _list_gpu_variables(server: _Server) -> dict[str, str]:
    """NVIDIA's variables as `corral.engines.visible_gpus` sets them; without a GPU they hide every one."""
    if server.gpu is not None and find_maker(server.gpu) not in (NVIDIA, None):
        return {}
    gpu = server.gpu
    seen = "" if server.instance.gpu is None else (gpu.uuid if gpu and gpu.uuid else str(server.instance.gpu))
    return {"CUDA_VISIBLE_DEVICES": seen, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def _write_word(word: str) -> str:
    """Write a word of a command, in which the home directory is systemd's."""
    if word == _HOME or word.startswith(f"{_HOME}/"):
        return _UNIT_HOME + escape_word(word[1:])
    return escape_word(word)


def _write_folder(path: str) -> str:
    """Write a folder: the rest of its line is the path, without quotes or escapes (systemd.exec, WorkingDirectory)."""
    if path == _HOME or path.startswith(f"{_HOME}/"):
        return _UNIT_HOME + path[1:].replace("%", "%%")
    return path.replace("%", "%%")


def _escape_value(value: str) -> str:
    """Escape the value of a variable inside of quotes (systemd.exec, Environment)."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


# --- Compose -----------------------------------------------------------------------------------------------------


def _render_project(installation: Installation, place: str, servers: list[_Server]) -> str:
    urls = [f"{server.name}: `url: http://{_LOOPBACK}:{server.port}`" for server in servers]
    notes = [
        f"1. Start it on {place}: docker compose --file {place}.yaml up --detach",
        f"2. In the cluster file, put these in the place of `run`: {', '.join(urls)}",
    ]
    name = re.sub(r"[^a-z0-9_-]+", "-", installation.cluster.name.lower()).strip("-_") or "corral"
    project: dict[str, Json] = {
        "name": f"{name}-instances",
        "services": {server.name: _build_service(server) for server in servers},
        "volumes": {server.name: {} for server in servers if server.run.container is None},
    }
    if not project["volumes"]:
        del project["volumes"]
    return write_document(installation, escape_values(project), *notes)


def _build_service(server: _Server) -> dict[str, Json]:
    facts = find_image(server.image or "")
    inside = _find_usual_port(server.engine, server.run, server.preset)
    fields: dict[str, Json] = {
        "image": server.image,
        "command": [word.replace(_PORT, str(inside)) for word in server.run.arguments],
        "restart": "unless-stopped",
        "init": True,
        "stop_grace_period": f"{_STOP_S}s",
        "environment": {name: value.replace(_PORT, str(inside)) for name, value in server.run.env.items()},
        "ports": [f"{_LOOPBACK}:{server.port}:{inside}"],
        "volumes": _list_volumes(server),
        "healthcheck": {"test": list(facts.health)} if facts is not None and facts.health else None,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        **_hand_in_gpu(server),
    }
    return {key: value for key, value in fields.items() if value not in (None, [], {})}


def _list_volumes(server: _Server) -> list[str]:
    """List the folders of the cluster file, or a volume for what the program keeps."""
    if server.run.container is not None:
        return list(server.run.container.volumes)
    program = ENGINES[server.engine].program
    return [] if program is None else [f"{server.name}:{program.data_path}"]


def _hand_in_gpu(server: _Server) -> dict[str, Json]:
    if server.instance.gpu is None:
        return {}
    access = ACCESS[(find_maker(server.gpu) if server.gpu is not None else None) or NVIDIA]
    if access.devices:
        return {"devices": [f"{path}:{path}" for path in access.devices], "group_add": list(access.groups)}
    identity = (server.gpu.uuid if server.gpu is not None else None) or str(server.instance.gpu)
    devices = [{"driver": "nvidia", "device_ids": [identity], "capabilities": ["gpu"]}]
    return {"deploy": {"resources": {"reservations": {"devices": devices}}}}
