"""The programs by which a server is started and ended that is not a process of Corral's own; pure.

A container, a service of a Compose file and a unit of systemd are each started by a program that runs as long as they
do. What it starts does not descend from it, so each has a clean-up that ends it, and that is right where nothing runs.

Sources: docker-run(1), docker-compose(1) of version 2, podman-run(1) of 4.1 or newer, systemctl(1), journalctl(1), and
https://github.com/cncf-tags/container-device-interface for the names of NVIDIA's GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from corral.cluster.run_values import Compose, Container
from corral.engines.visible_gpus import is_address

PORT = "{port}"
"""Stands for the port in commands and variables; no other braces are replaced."""
LABEL = "corral.instance"
"""Of containers: the engine and the instance, so that people find them."""
PORT_VARIABLE = "CORRAL_PORT"
GPU_VARIABLE = "CORRAL_GPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a server is started and ended."""

    command: tuple[str, ...]
    """Runs as long as the server does; with `PORT` in it."""
    clean_up: tuple[tuple[str, ...], ...] = ()
    """Commands that end what can outlive it."""
    log_command: tuple[str, ...] | None = None
    """Prints what the server prints, where the command does not."""
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    """More variables for the command, with `PORT` in them."""
    is_process: bool = True
    """Whether the server descends from the command, and so gets its GPU and its memory measured as a process."""


def run_container(
    container: Container,
    *,
    name: str,
    label: str,
    port: int,
    variables: Sequence[str],
    arguments: Sequence[str],
    gpu: str | None,
    gpu_files: Sequence[str],
) -> Way:
    """Return how a container is run: `port` is the one within, `variables` are handed on by name.

    `gpu` is a UUID or PCI address; a GPU of AMD or Intel is its files: `/dev/dri/renderD128`.
    """
    program = container.program
    return Way(
        command=(
            program,
            "run",
            "--rm",
            f"--name={name}",
            f"--label={LABEL}={label}",
            f"--publish=127.0.0.1:{PORT}:{port}",
            *_name_gpu(program, gpu, gpu_files),
            *(f"--env={variable}" for variable in variables),
            *(f"--volume={volume}" for volume in container.volumes),
            container.image,
            *arguments,
        ),
        clean_up=((program, "rm", "--force", name),),
        is_process=False,
    )


def run_compose(compose: Compose, *, gpu: str | None) -> Way:
    """Return how a service of a Compose file is run, alone; the file gets the port and the GPU as variables."""
    begin = (compose.program, "compose", f"--file={compose.file}")
    return Way(
        command=(*begin, "up", "--no-deps", "--no-log-prefix", "--no-color", compose.service),
        clean_up=((*begin, "rm", "--stop", "--force", compose.service),),
        variables={PORT_VARIABLE: PORT, GPU_VARIABLE: gpu or ""},
        is_process=False,
    )


def run_unit(unit: str, *, is_root: bool) -> Way:
    """Return how a unit is run: of the system where Corral is root, else of its user."""
    manager = () if is_root else ("--user",)
    return Way(
        command=("systemctl", *manager, "start", "--wait", unit),
        clean_up=(("systemctl", *manager, "stop", unit),),
        log_command=("journalctl", *manager, f"--unit={unit}", "--follow", "--lines=0", "--output=cat"),
        is_process=False,
    )


def _name_gpu(program: str, gpu: str | None, gpu_files: Sequence[str]) -> Iterator[str]:
    if gpu is not None and not is_address(gpu):
        yield f"--gpus=device={gpu}" if program == "docker" else f"--device=nvidia.com/gpu={gpu}"
    yield from (f"--device={file}" for file in gpu_files)
