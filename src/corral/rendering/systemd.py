"""systemd units: Corral's server, whose user can write to its data directory only, and power limits of GPUs.

NixOS declares its units itself, in `rendering.nixos`. A text of the cluster file stays one word of one line.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from corral.cluster.values import Node, ServiceKind
from corral.rendering.documents import write_header
from corral.rendering.gpus import (
    PERSISTENCE_UNIT,
    POWER_LIMIT_UNIT,
    list_limited_gpus,
    list_nvidia_gpus,
    write_power_command,
)
from corral.rendering.installation import Installation
from corral.rendering.makers import runs_nixos
from corral.rendering.power_hours import list_changes, list_windows, write_script

Setting = tuple[str, str]
"""The key and the value of one line of a unit; the key `#` makes a comment."""

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]")


def escape_word(text: str) -> str:
    r"""A text as one word of a command line: `%` and `$` doubled, other special characters as `\x20`.

    Source: systemd.service, section on command lines.
    """
    return "".join(_escape_character(character) for character in text)


def quote_field(text: str) -> str:
    """A printable text as one field of tmpfiles.d: in quotes, with doubled specifiers."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def format_unit(sections: Iterable[tuple[str, Iterable[Setting]]]) -> str:
    """Format the sections of a unit, each a name and its settings."""
    texts = [
        f"[{name}]\n" + "".join(f"# {value}\n" if key == "#" else f"{key}={value}\n" for key, value in settings)
        for name, settings in sections
    ]
    return "\n".join(texts)


def _escape_character(character: str) -> str:
    if character in "%$":
        return character * 2
    if _PLAIN.fullmatch(character):
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode())


_NVIDIA_SMI = "/usr/bin/nvidia-smi"
_LIMIT_SCRIPT = f"/usr/local/sbin/{POWER_LIMIT_UNIT}"

USER = "corral"
PROGRAM = "/opt/corral/bin/corral"
CLUSTER_FILE = "/etc/corral/cluster.yaml"
ENVIRONMENT = "/etc/corral/environment"
STATE = "/var/lib"
LONGEST_DATA_DIR = 80
"""In bytes: the socket of the embedded PostgreSQL is below it (the server refuses longer ones)."""
STOP_S = 60
"""A stopping server gives running tasks 10 s, its requests 3 s and the database 15 s to take what is left; the embedded
PostgreSQL then stops in order. After a minute the rest is killed, which loses nothing: tasks go back to the queue."""

_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")
_HARDENING: tuple[Setting, ...] = (
    ("#", "Not here: PrivateDevices, ProtectClock (both hide the GPUs), MemoryDenyWriteExecute (CUDA compiles code)."),
    ("NoNewPrivileges", "yes"),
    ("CapabilityBoundingSet", ""),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("PrivateTmp", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("LockPersonality", "yes"),
    ("SystemCallArchitectures", "native"),
)


def render_units(installations: tuple[Installation, ...]) -> Mapping[str, str]:
    """Render the server's unit, unless a layout deploys the server, and a power limit unit for each node with limits.

    Returns:
        Texts by path.
    """
    installation = replace(installations[0], layout=None)
    files: dict[str, str] = {}
    for node in installation.cluster.nodes:
        if not runs_nixos(node) and list_limited_gpus(node):
            files |= _render_power_limits(installation, node)
    if not any(deployed.service.kind is ServiceKind.CORRAL for deployed in installation.deployed):
        files |= {
            "systemd/corral.service": _render_server(installation),
            "systemd/corral.sysusers.conf": _render_user(installation),
        }
    return files


def _render_power_limits(installation: Installation, node: Node) -> Mapping[str, str]:
    """Render the unit that limits a node's GPUs: started after the daemon that keeps the driver loaded, and restarted
    with it (pitfall C01). Limits by the hour are set by a script, which a timer starts at each change."""
    gpus = list_limited_gpus(node)
    unit, changes = f"{POWER_LIMIT_UNIT}.service", list_changes(list_windows(gpus))
    # One command for each GPU, and a `-` before it: if one GPU refuses its limit, the others still get theirs.
    commands = [f"{_NVIDIA_SMI} {' '.join(escape_word(word) for word in write_power_command(gpu))}" for gpu in gpus]
    started = f"{POWER_LIMIT_UNIT}.timer {unit}" if changes else unit
    copied = f"{POWER_LIMIT_UNIT} to /usr/local/sbin/ (mode 0755), the units" if changes else "it"
    notes = (
        f"Copy {copied} to /etc/systemd/system/ on {node.name}, then: sudo systemctl enable --now {started}",
        f"Check: nvidia-smi --query-gpu=index,uuid,power.limit --format=csv ({', '.join(gpu.name for gpu in gpus)})",
        "A limit caps; it is not an undervolt.",
    )
    how: tuple[Setting, ...] = (
        ("RemainAfterExit", "yes"),
        ("#", "A limit that a GPU refuses is in the journal; the next one is set all the same."),
        *(("ExecStart", f"-{command}") for command in commands),
    )
    if changes:  # a unit that stays active is not started again by its timer
        how = (("ExecStart", _LIMIT_SCRIPT),)
    service = format_unit(
        (
            (
                "Unit",
                (
                    ("Description", "Power limits of GPUs, from the cluster file"),
                    ("Wants", PERSISTENCE_UNIT),
                    ("After", PERSISTENCE_UNIT),
                    ("PartOf", PERSISTENCE_UNIT),
                    ("Before", "k3s.service k3s-agent.service corral.service"),
                ),
            ),
            ("Service", (("Type", "oneshot"), *how)),
            ("Install", (("WantedBy", f"multi-user.target {PERSISTENCE_UNIT}"),)),
        )
    )
    folder = f"systemd/{node.name}"
    files = {f"{folder}/{unit}": write_header(installation, *notes) + service}
    if not changes:
        return files
    timer = format_unit(
        (
            ("Unit", (("Description", "Changes of the power limits of GPUs, from the cluster file"),)),
            ("Timer", (*(("OnCalendar", change) for change in changes), ("AccuracySec", "1s"))),
            ("Install", (("WantedBy", "timers.target"),)),
        )
    )
    script = "#!/bin/sh\n" + write_header(installation, *notes) + write_script(gpus, _NVIDIA_SMI)
    return files | {
        f"{folder}/{POWER_LIMIT_UNIT}.timer": write_header(installation, *notes) + timer,
        f"{folder}/{POWER_LIMIT_UNIT}": script,
    }


def _render_server(installation: Installation) -> str:
    data_dir, notes = _choose_data_dir(installation)
    database = installation.cluster.database_url_env
    secrets = [f"{database}=postgresql://..."] if database else []
    steps = (
        f"1. {PROGRAM}: python3 -m venv /opt/corral && /opt/corral/bin/pip install '.[local]'",
        "2. corral.sysusers.conf to /etc/sysusers.d/corral.conf, then: sudo systemd-sysusers",
        f"3. The cluster file to {CLUSTER_FILE}. Secrets ({', '.join(secrets) or 'none yet'}) to",
        f"   {ENVIRONMENT}, readable by root only (0600); `corral render` writes no secret to any file.",
        "4. This file to /etc/systemd/system/, then: sudo systemctl enable --now corral.service",
        *notes,
    )
    return write_header(installation, *steps) + format_unit(
        (
            (
                "Unit",
                (
                    ("Description", "Corral: runs AI work on this machine's GPUs"),
                    ("Wants", "network-online.target"),
                    ("After", f"network-online.target {PERSISTENCE_UNIT} {POWER_LIMIT_UNIT}.service"),
                ),
            ),
            (
                "Service",
                (
                    *_list_process_settings(installation, data_dir),
                    *_list_folder_settings(data_dir),
                    *_list_output_settings(installation),
                    *_HARDENING,
                ),
            ),
            ("Install", (("WantedBy", "multi-user.target"),)),
        )
    )


def _render_user(installation: Installation) -> str:
    """Render the server's user, for systemd-sysusers."""
    data_dir, _ = _choose_data_dir(installation)
    note = "It goes to /etc/sysusers.d/corral.conf, then: sudo systemd-sysusers"
    return write_header(installation, note) + f'u {USER} - "Corral" {data_dir}\n'


def _list_process_settings(installation: Installation, data_dir: str) -> list[Setting]:
    settings: list[Setting] = [
        ("Type", "exec"),
        ("User", USER),
        ("Group", USER),
        ("EnvironmentFile", f"-{ENVIRONMENT}"),
    ]
    if any(node.gpus is None or list_nvidia_gpus(node) for node in installation.cluster.nodes):
        settings += [
            ("#", "As root: makes /dev/nvidia-uvm, which programs of this unit cannot make."),
            ("ExecStartPre", "+-/usr/bin/nvidia-modprobe -c 0 -u"),
        ]
    return [
        *settings,
        ("ExecStart", f"{PROGRAM} up --cluster {CLUSTER_FILE} --data-dir {data_dir}"),
        ("Restart", "on-failure"),
        ("RestartSec", "5s"),
        ("#", "Only the server is asked to stop: it ends its engines and its database in order. Then all are killed."),
        ("KillMode", "mixed"),
        ("TimeoutStopSec", f"{STOP_S}s"),
    ]


def _list_folder_settings(data_dir: str) -> list[Setting]:
    """systemd makes and owns directories below /var/lib; a directory elsewhere must exist."""
    below = posixpath.relpath(data_dir, STATE)
    if below.startswith("..") or below == ".":
        return [("ReadWritePaths", data_dir), ("UMask", "0077")]
    return [("StateDirectory", below), ("StateDirectoryMode", "0700"), ("UMask", "0077")]


def _list_output_settings(installation: Installation) -> list[Setting]:
    """Folders that outputs are written to; one that is not there must not keep the server from starting."""
    paths = [folder.path for folder in installation.cluster.output_folders if _PLAIN_PATH.fullmatch(folder.path)]
    return [("ReadWritePaths", " ".join(f"-{path}" for path in paths))] if paths else []


def _choose_data_dir(installation: Installation) -> tuple[str, tuple[str, ...]]:
    """Choose the data directory: the cluster file's where a service can use it, else the default.

    Returns:
        Its path, and notes with the reason if it is not the cluster file's.
    """
    default = f"{STATE}/{USER}"
    configured = installation.cluster.data_dir
    if configured is None:
        return default, ()
    if not configured.startswith("/"):
        return default, (f"The file's data directory {configured} is relative to it: {default} here.",)
    path = posixpath.normpath(configured)
    if len(path.encode()) > LONGEST_DATA_DIR:
        return default, (f"The file's data directory has more than {LONGEST_DATA_DIR} bytes: {default} here.",)
    if path.startswith(("/home/", "/root", "/tmp/", "/var/tmp/")):
        return default, (f"The file's data directory {configured} is hidden from services: {default} here.",)
    if not _PLAIN_PATH.fullmatch(path):
        return default, (f"The file's data directory has characters that are special to systemd: {default} here.",)
    return path, ()
