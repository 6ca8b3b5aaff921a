"""What is known of the programs that services run: image, health, where models lie, how long a start may take.

An image that the cluster file names always wins. Versions are pinned, so that two nodes run the same and a restart
brings no update; they are the newest that were known to work together when this was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corral.cluster.values import Service, ServiceKind

OLLAMA = "ollama/ollama:0.12.6"
POSTGRESQL = "postgres:18.1"
NGINX = "nginxinc/nginx-unprivileged:1.29.3"
LITELLM = "ghcr.io/berriai/litellm:v1.85.0"
CURL = "curlimages/curl:8.17.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program, as far as its container has to know it."""

    image: str | None = None
    health_path: str | None = None
    """Answers 200 once it can serve; None: only its port is asked."""
    live_path: str | None = None
    """Answers 200 as long as it need not be started anew, even while what it depends on is away; None: as above."""
    ready_command: tuple[str, ...] = ()
    """Ends with 0 once it can serve, where it does not speak HTTP."""
    data_path: str = "/data"
    """Where it keeps what must last."""
    user: int | None = None
    """The user that its image is made to run as; None: the image decides, which may be root."""
    keeps_state: bool = False
    """Whether it must be one process for each volume, with an address of its own (ComfyUI, Ollama, databases)."""


_UNKNOWN = Program()
_OF_ENGINES = {
    "ollama": Program(image=OLLAMA, health_path="/", data_path="/root/.ollama", keeps_state=True),
    "comfyui": Program(health_path="/system_stats", data_path="/opt/ComfyUI/models", keeps_state=True),
    "whisper": Program(data_path="/models"),
    "chatterbox": Program(data_path="/models"),
    "piper": Program(data_path="/models"),
    "trainer": Program(data_path="/workspace"),
}
_OF_KINDS = {
    ServiceKind.LITELLM: Program(
        image=LITELLM, health_path="/health/readiness", live_path="/health/liveliness", data_path="/etc/litellm"
    ),
    ServiceKind.NGINX: Program(image=NGINX, health_path="/healthz", data_path="/usr/share/nginx/html", user=101),
    ServiceKind.POSTGRESQL: Program(
        image=POSTGRESQL,
        # Over TCP: while a new database is set up, the server answers at its socket only.
        ready_command=("pg_isready", "--host=127.0.0.1"),
        data_path="/var/lib/postgresql",
        user=999,
        keeps_state=True,
    ),
    ServiceKind.CORRAL: Program(
        health_path="/health/ready", live_path="/health/live", data_path="/var/lib/corral", user=1000
    ),
}


def program_of(service: Service) -> Program:
    """What is known of the program that a service runs; the first engine that is known decides."""
    if service.kind in _OF_KINDS:
        return _OF_KINDS[service.kind]
    return next((_OF_ENGINES[engine] for engine in service.engines if engine in _OF_ENGINES), _UNKNOWN)


def image_of(service: Service) -> str | None:
    """The image of a service; None when neither the file nor anything known says."""
    return service.image or program_of(service).image


def mount_paths(service: Service, volumes: Sequence[str]) -> Mapping[str, str]:
    """Where a service finds its volumes: as the file says, else the first at its program's own place."""
    usual = program_of(service).data_path
    places = [usual, *(f"/data/{name}" for name in volumes[1:])]
    return {name: service.mounts.get(name) or place for name, place in zip(volumes, places, strict=False)}
