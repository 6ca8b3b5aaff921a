"""Builds the engine of an instance with `run`: its recipe, its process on this machine, its adapter."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import psutil

from corral.cluster.values import EngineSettings, Instance
from corral.engine_kinds import ENGINES
from corral.engines.building import build_remote
from corral.engines.credentials import Credentials, name_credentials
from corral.engines.llama.vulkan import VISIBLE, VulkanDevice, choose_devices, list_devices
from corral.engines.machine_share import drop_secrets
from corral.engines.servers.directory import Directory
from corral.engines.servers.engine import InstanceServer, ListingInstanceServer
from corral.engines.servers.recipe import Recipe, Surroundings, fill_environment, fill_port, make_recipe
from corral.engines.visible_gpus import list_device_files, list_visible
from corral.processes.bounded_log import BoundedLog
from corral.processes.leftovers import MARK, make_mark
from corral.processes.restarts import RestartRules
from corral.processes.server import Server, ServerProgram
from corral.units import Bytes
from corral.work import Engine, EngineUnavailableError

LOGS_FOLDER = "servers"
"""Below the folder of logs."""
_OWNER_DIGITS = 8
_STOP_GRACE_S = 10.0
"""Between SIGTERM and SIGKILL: what a server writes out, and what it started, ends in order; docker's own grace."""


def build_instance_server(
    settings: EngineSettings,
    instance: Instance,
    *,
    gpu: str | None,
    log_dir: Path,
    directory: Directory,
    rules: RestartRules | None = None,
) -> InstanceServer:
    """Return the engine of an instance with `run`, and enter it; nothing is started before its first task.

    `gpu` is the identity of the GPU that it computes on; None hides every one from it.
    Raises: ProblemsError when the engine's options are wrong.
    """
    assert instance.run is not None, "its slot is made for what Corral runs"
    here = Surroundings(
        home=Path.home(),
        owner=sha256(os.fsencode(log_dir.resolve())).hexdigest()[:_OWNER_DIGITS],
        gpu=gpu,
        gpu_files=list_device_files(gpu),
        is_root=os.geteuid() == 0,
        exists=lambda path: shutil.which(path) is not None or Path(path).is_file(),
    )
    recipe = make_recipe(
        ENGINES[settings.name], instance.name, instance.run, here, lanes=instance.lanes or settings.lanes
    )
    program = ServerProgram(
        name=recipe.title,
        command=lambda port: make_command(recipe, os.environ, port=port),
        environment=lambda port: make_environment(recipe, os.environ, gpu=gpu, port=port, log_dir=log_dir),
        health_path=recipe.health_path,
        port=recipe.port,
        folder=recipe.folder,
        stop_grace_s=_STOP_GRACE_S,
        clean_up=recipe.clean_up,
        log_command=recipe.log_command,
    )

    def make_adapter(url: str) -> Engine:
        return build_remote(settings.name, url=url, options=settings.options, credentials=name_credentials(instance))

    kind = ListingInstanceServer if ENGINES[settings.name].lists_models else InstanceServer
    server = Server(program, BoundedLog(name_log(log_dir, settings.name, instance.name)), rules=rules)
    engine = kind(
        settings.name,
        recipe,
        server,
        make_adapter,
        measure_memory=measure_main_memory if gpu is None and recipe.is_process else lambda _: None,
    )
    directory.enter(settings.name, instance.name, engine)
    return engine


def name_log(log_dir: Path, engine: str, instance: str) -> Path:
    """Return the file for what the server of an instance prints."""
    return log_dir / LOGS_FOLDER / f"{engine}-{instance}.log"


class FolderMissingError(EngineUnavailableError):
    """The folder in which the server of an instance runs is not there."""

    code: ClassVar[str] = "instance.folder_missing"


def make_command(recipe: Recipe, base: Mapping[str, str], *, port: int) -> tuple[str, ...]:
    """Return the command of a start, where nothing that it needs is known to be missing.

    Raises: FolderMissingError, SecretMissingError, PresetProgramError.
    """
    if not recipe.folder.is_dir():
        hint = "make it, or correct `folder` of its `run` in the cluster file"
        raise FolderMissingError(f"the folder of {recipe.title} is not there", where=str(recipe.folder), hint=hint)
    _read_secrets(recipe, base)
    return fill_port(recipe.make_command(), port)


def make_environment(
    recipe: Recipe,
    base: Mapping[str, str],
    *,
    gpu: str | None,
    port: int,
    log_dir: Path,
    find_devices: Callable[[Mapping[str, str]], Sequence[VulkanDevice]] = list_devices,
) -> dict[str, str]:
    """Return the environment of one start: the server's own without secrets, its GPU, and what the recipe adds.

    Blocks: it asks Vulkan for its devices.

    Raises: SecretMissingError.
    """
    return {
        **drop_secrets(base),
        "PYTHONUNBUFFERED": "1",  # so that what it prints is in the log when it ends
        **(list_visible(() if gpu is None else (gpu,)) if recipe.is_process else {}),
        **(list_vulkan(gpu, find_devices) if recipe.is_process else {}),
        **fill_environment(recipe, port),
        **_read_secrets(recipe, base),
        MARK: make_mark(log_dir),
    }


def _read_secrets(recipe: Recipe, base: Mapping[str, str]) -> dict[str, str]:
    credentials = Credentials(environment=base)
    return {name: credentials.read_secret(variable) for name, variable in recipe.secrets.items()}


def list_vulkan(gpu: str | None, find_devices: Callable[[Mapping[str, str]], Sequence[VulkanDevice]]) -> dict[str, str]:
    """Return the variable by which ggml for Vulkan sees this GPU alone; none where Vulkan does not list it."""
    visible = None if gpu is None else choose_devices(find_devices(os.environ), (gpu,))
    return {} if visible is None else {VISIBLE: visible}


def measure_main_memory(process: int | None) -> Bytes | None:
    """Return the main memory of a process and all that descends from it; pages that they share count more than once."""
    if process is None:
        return None
    try:
        root = psutil.Process(process)
        sizes = [member.memory_info().rss for member in (root, *root.children(recursive=True))]
    except psutil.Error:
        return None
    return Bytes(sum(sizes))
