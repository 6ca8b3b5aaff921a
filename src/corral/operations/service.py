"""The server as a service of systemd: the unit, and the steps that install or remove it.

What hardens a service can take its GPUs away, so each setting that is left out is named here:

- `PrivateDevices`, `ProtectClock` and `DeviceAllow` close `/dev/nvidia*`, `/dev/kfd` and `/dev/dri`.
- `MemoryDenyWriteExecute` stops compilers of kernels (CUDA, Triton) and of Python.
- `ProtectHome` and `ProtectSystem=strict` keep ComfyUI, models and outputs in home folders from being written.
- In a user's unit, `NoNewPrivileges` and all that implies it keep `nvidia-modprobe` from making `/dev/nvidia-uvm`, so
  that CUDA finds no GPU after a start. A system unit runs it first, with privileges.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.files import write_whole

UNIT = "corral.service"
SYSTEM_FOLDER = Path("/etc/systemd/system")
SYSTEM_DATA_DIR = Path("/var/lib/corral")
ROOT = "root"
WATCHDOG_S = 120
"""Without a sign for so long, the event loop hangs: each step of it takes milliseconds."""
START_S = 300
"""A start can create or repair a database; one that saves and migrates a large one reports that it goes on."""
STOP_S = 90
"""Tasks get 10 s, a database that does not answer 15 s, engines and PostgreSQL the rest."""


class ServiceError(CorralError):
    """systemd did not do what was asked."""

    code: ClassVar[str] = "service.failed"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A server as systemd runs it."""

    system: bool
    """Whether it belongs to the machine, and not to a user who is logged in."""
    user: str
    """Whom it runs as; a user's service always runs as that user."""
    data_dir: Path
    cluster_file: Path | None = None
    options: tuple[str, ...] = ()
    """Further words of `corral up`."""
    python: Path = Path(sys.executable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command, and what it is for."""

    command: tuple[str, ...]
    why: str


def render_unit(service: Service) -> str:
    """Write the unit; pure."""
    sections = {"Unit": _list_unit(service), "Service": _list_service(service), "Install": _list_install(service)}
    return "\n\n".join("\n".join((f"[{name}]", *lines)) for name, lines in sections.items()) + "\n"


def find_unit(*, system: bool, config_home: Path) -> Path:
    """Return where the unit is installed; `config_home` is the user's own folder of configuration."""
    return (SYSTEM_FOLDER if system else config_home / "systemd" / "user") / UNIT


def list_install_steps(*, system: bool) -> tuple[Step, ...]:
    """List the commands after the unit was written."""
    systemctl = _systemctl(system=system)
    return (
        Step(command=(*systemctl, "daemon-reload"), why="read the unit"),
        Step(command=(*systemctl, "enable", UNIT), why="start it with the machine" if system else "start it at log-in"),
        Step(command=(*systemctl, "restart", UNIT), why="start it now"),
    )


def list_uninstall_steps(*, system: bool) -> tuple[Step, ...]:
    """List the commands before the unit is removed."""
    return (Step(command=(*_systemctl(system=system), "disable", "--now", UNIT), why="stop it, and start it no more"),)


def install(path: Path, text: str, steps: Sequence[Step], run: Callable[[Sequence[str]], None]) -> None:
    """Write the unit and carry the steps out. Raises: ServiceError, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text, mode=0o644)
    for step in steps:
        run(step.command)


def uninstall(path: Path, steps: Sequence[Step], run: Callable[[Sequence[str]], None]) -> None:
    """Carry the steps out and remove the unit; the data directory stays. Raises: ServiceError, OSError."""
    for step in steps:
        run(step.command)
    path.unlink(missing_ok=True)


def quote(word: str | Path) -> str:
    """Write a word of a command as systemd reads it (systemd.service(5), "Command lines")."""
    text = str(word).replace("%", "%%").replace("$", "$$")
    if text and not any(letter.isspace() or letter in "\"'\\;" for letter in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _systemctl(*, system: bool) -> tuple[str, ...]:
    return ("systemctl",) if system else ("systemctl", "--user")


def _list_unit(service: Service) -> list[str]:
    described = ["Description=Corral: AI work on the GPUs you own"]
    return [*described, "Wants=network-online.target", "After=network-online.target"] if service.system else described


def _list_service(service: Service) -> list[str]:
    words = [service.python, "-m", "corral", "up", "--data-dir", service.data_dir]
    words += ["--cluster", service.cluster_file] if service.cluster_file is not None else []
    return [
        "Type=notify",
        "NotifyAccess=main",
        *_list_start_of_gpus(service),
        f"ExecStart={' '.join(quote(word) for word in (*words, *service.options))}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=always",
        "RestartSec=2",
        f"WatchdogSec={WATCHDOG_S}",
        f"TimeoutStartSec={START_S}",
        f"TimeoutStopSec={STOP_S}",
        "# Corral ends its engines and its database in order; what is left after that is killed.",
        "KillMode=mixed",
        "# An engine that takes too much memory is ended alone, and its task tried again.",
        "OOMPolicy=continue",
        "UMask=0077",
        "LimitNOFILE=65536",
        *(_list_system_settings(service) if service.system else ()),
    ]


def _list_start_of_gpus(service: Service) -> list[str]:
    if not service.system:
        return []
    return [
        "# Makes NVIDIA's devices with privileges that the service has not; fails where there is no such GPU.",
        "ExecStartPre=-+/usr/bin/nvidia-modprobe -c 0 -u",
    ]


def _list_system_settings(service: Service) -> list[str]:
    mode = "0710" if service.user == ROOT else "0700"  # root's database is another user's, with root's group
    state = ["StateDirectory=corral", f"StateDirectoryMode={mode}"] if service.data_dir == SYSTEM_DATA_DIR else []
    # As root, the embedded PostgreSQL changes to a user of its own, for which it needs capabilities.
    own_user = [] if service.user == ROOT else [f"User={service.user}", "CapabilityBoundingSet=", "ProtectHostname=yes"]
    return [
        *own_user,
        *state,
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "ProtectSystem=full",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "LockPersonality=yes",
        "RestrictSUIDSGID=yes",
        "SystemCallArchitectures=native",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    ]


def _list_install(service: Service) -> list[str]:
    return [f"WantedBy={'multi-user' if service.system else 'default'}.target"]
