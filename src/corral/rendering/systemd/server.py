"""Corral's server as a unit of systemd, as a user of its own that can write nothing but its data directory."""

from __future__ import annotations

import posixpath
import re

from corral.rendering.cards import nvidia_cards
from corral.rendering.documents import header
from corral.rendering.installation import Installation
from corral.rendering.systemd.units import unit

USER = "corral"
PROGRAM = "/opt/corral/bin/corral"
CLUSTER_FILE = "/etc/corral/cluster.yaml"
ENVIRONMENT = "/etc/corral/environment"
STATE = "/var/lib"
LONGEST_DATA_DIR = 80
"""In bytes: the embedded PostgreSQL's socket lies below it (the server refuses longer ones)."""
STOP_S = 60
"""A stopping server gives running tasks 10 s, its requests 3 s and the database 15 s to take what is left; the embedded
PostgreSQL then stops in order. After a minute the rest is killed, which loses nothing: tasks go back to the queue."""

_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")
Setting = tuple[str, str]


def service(installation: Installation) -> str:
    """The unit of the server."""
    data_dir, notes = _data_dir(installation)
    database = installation.cluster.database_url_env
    secrets = [f"{database}=postgresql://..."] if database else []
    steps = (
        f"1. {PROGRAM}: python3 -m venv /opt/corral && /opt/corral/bin/pip install '.[local]'",
        "2. corral.sysusers.conf to /etc/sysusers.d/corral.conf, then: sudo systemd-sysusers",
        f"3. The cluster file to {CLUSTER_FILE}. What is secret ({', '.join(secrets) or 'nothing yet'}) to",
        f"   {ENVIRONMENT}, which root alone reads (0600); it stands in no file of ours.",
        "4. This file to /etc/systemd/system/, then: sudo systemctl enable --now corral.service",
        *notes,
    )
    return header(installation, *steps) + unit(
        (
            (
                "Unit",
                (
                    ("Description", "Corral: runs AI work on this machine's GPUs"),
                    ("Wants", "network-online.target"),
                    ("After", "network-online.target nvidia-persistenced.service gpu-power-limit.service"),
                ),
            ),
            ("Service", (*_running(installation, data_dir), *_folders(data_dir), *_HARDENING)),
            ("Install", (("WantedBy", "multi-user.target"),)),
        )
    )


def user(installation: Installation) -> str:
    """The server's user, for systemd-sysusers."""
    data_dir, _ = _data_dir(installation)
    note = "It goes to /etc/sysusers.d/corral.conf, then: sudo systemd-sysusers"
    return header(installation, note) + f'u {USER} - "Corral" {data_dir}\n'


def _running(installation: Installation, data_dir: str) -> list[Setting]:
    settings: list[Setting] = [
        ("Type", "exec"),
        ("User", USER),
        ("Group", USER),
        ("EnvironmentFile", f"-{ENVIRONMENT}"),
        ("ExecStart", f"{PROGRAM} up --cluster {CLUSTER_FILE} --data-dir {data_dir}"),
        ("Restart", "on-failure"),
        ("RestartSec", "5s"),
        ("#", "The server alone is asked to stop: it ends its engines and its database in order. Then all are killed."),
        ("KillMode", "mixed"),
        ("TimeoutStopSec", f"{STOP_S}s"),
    ]
    if any(node.gpus is None or nvidia_cards(node) for node in installation.cluster.nodes):
        settings.insert(4, ("#", "As root: makes /dev/nvidia-uvm, which no program of this unit may make itself."))
        settings.insert(5, ("ExecStartPre", "+-/usr/bin/nvidia-modprobe -c 0 -u"))
    return settings


def _folders(data_dir: str) -> list[Setting]:
    """systemd makes and owns what lies below /var/lib; another place has to be there."""
    below = posixpath.relpath(data_dir, STATE)
    if below.startswith("..") or below == ".":
        return [("ReadWritePaths", data_dir), ("UMask", "0077")]
    return [("StateDirectory", below), ("StateDirectoryMode", "0700"), ("UMask", "0077")]


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


def _data_dir(installation: Installation) -> tuple[str, tuple[str, ...]]:
    """Where the data lies, and why it is not where the file says."""
    usual = f"{STATE}/{USER}"
    said = installation.cluster.data_dir
    if said is None:
        return usual, ()
    if not said.startswith("/"):
        return usual, (f"The file's data directory {said} is relative to it: {usual} here.",)
    plain = posixpath.normpath(said)
    if len(plain.encode()) > LONGEST_DATA_DIR:
        return usual, (f"The file's data directory has more than {LONGEST_DATA_DIR} bytes: {usual} here.",)
    if plain.startswith(("/home/", "/root", "/tmp/", "/var/tmp/")):
        return usual, (f"The file's data directory {said} is hidden from services: {usual} here.",)
    if not _PLAIN.fullmatch(plain):
        return usual, (f"The file's data directory has characters that are special to systemd: {usual} here.",)
    return plain, ()
