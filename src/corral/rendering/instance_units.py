"""Units for servers of instances: of the user's own systemd, because a program in a home directory is the user's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from corral.hardware.makers import NVIDIA, find_maker
from corral.presets.catalogue import build_command, list_variables
from corral.rendering.documents import write_header
from corral.rendering.installation import Installation
from corral.rendering.instances import LOOPBACK, PORT, STOP_S, InstanceServer, list_servers
from corral.rendering.systemd import Setting, escape_word, format_unit

_HOME = "~"
_UNIT_HOME = "%h"
"""systemd's specifier for the user's home directory (systemd.unit)."""


def render_instance_units(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render a unit of the user's systemd for each server of an instance.

    Returns:
        Texts by path.
    """
    installation = replace(installations[0], layout=None)
    return {
        f"systemd/{server.place}/{server.name}.service": _render_unit(installation, server)
        for server in list_servers(installation.cluster)
        if server.is_program and server.port is not None
    }


def list_unit_notes(installation: Installation) -> list[str]:
    """List the servers of instances that no unit has."""
    return [
        f"No systemd unit has {server.name}, since its port is open: add `port` to its `run`."
        for server in list_servers(installation.cluster)
        if server.is_program and server.port is None
    ]


def _render_unit(installation: Installation, server: InstanceServer) -> str:
    unit = f"{server.name}.service"
    notes = [
        f"1. Copy it to ~/.config/systemd/user/ of the user who runs Corral on {server.place}, and",
        "   `systemctl --user daemon-reload`.",
        f"2. Corral starts and stops it with `run: {{systemd: {unit}, port: {server.port}}}` in the cluster file.",
        f"   Or the machine keeps it running: `systemctl --user enable --now {unit}`, `loginctl enable-linger`,",
        f"   and `url: http://{LOOPBACK}:{server.port}` in the place of `run`.",
    ]
    if server.preset is not None and len(server.preset.start.programs) > 1:
        places = ", ".join(server.preset.start.programs).replace("{folder}", server.run.folder or "FOLDER")
        notes.append(f"If its program is not at the first of {places}: change ExecStart.")
    title = server.preset.title if server.preset is not None else server.engine
    return write_header(installation, *notes) + format_unit(
        (
            ("Unit", (("Description", f"{title} for the instance {server.instance.name} of Corral"),)),
            ("Service", tuple(_list_service_settings(server))),
            ("Install", (("WantedBy", "default.target"),)),
        )
    )


def _list_service_settings(server: InstanceServer) -> Iterator[Setting]:
    yield "Type", "exec"
    yield "WorkingDirectory", _write_folder(server.run.folder or _HOME)
    for name, value in _list_unit_variables(server).items():
        yield "Environment", f'"{name}={_escape_value(value)}"'
    if server.run.env_from:
        yield "#", f"Put {', '.join(server.run.env_from)} in this file, readable by you alone (0600)."
        yield "EnvironmentFile", f"-{_UNIT_HOME}/.config/corral/{server.name}.env"
    if server.gpu is not None and find_maker(server.gpu) not in (NVIDIA, None):
        yield "#", f"Hide the other GPUs from it: docs/concepts/engines.md names the variables for {server.gpu.model}."
    yield "ExecStart", " ".join(_write_word(word) for word in _make_command(server))
    yield "Restart", "on-failure"
    yield "RestartSec", "5s"
    yield "KillMode", "mixed"
    yield "TimeoutStopSec", f"{STOP_S}s"


def _make_command(server: InstanceServer) -> tuple[str, ...]:
    run = server.run
    words = run.command + run.arguments
    if server.preset is not None:
        words = build_command(
            server.preset,
            host=LOOPBACK,
            folder=run.folder,
            arguments=run.arguments,
            lanes=server.lanes,
            has_gpu=server.instance.gpu is not None,
            exists=lambda _: True,  # the machine is another one: its usual place
        )
    return tuple(word.replace(PORT, str(server.port)) for word in words)


def _list_unit_variables(server: InstanceServer) -> dict[str, str]:
    own = list_variables(server.preset, host=LOOPBACK, lanes=server.lanes) if server.preset is not None else {}
    variables = {**_list_gpu_variables(server), **own, **server.run.env}
    return {name: value.replace(PORT, str(server.port)) for name, value in variables.items()}


def _list_gpu_variables(server: InstanceServer) -> dict[str, str]:
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
