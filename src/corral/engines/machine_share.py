"""The part of this machine that a local engine gets: its device, its threads, where it logs, what its processes see."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from corral.engines.environments.finding import Environments, list_own_nvidia
from corral.engines.visible_gpus import list_visible
from corral.errors import CorralError
from corral.processes.leftovers import MARK, make_mark
from corral.work import TaskInvalidError

_LIBRARY_PATH = "LD_LIBRARY_PATH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The device that a slot computes on."""

    name: str
    """Unique on its node; names the log file: `gpu0`, `cpu1`."""
    gpu: str | None = None
    """The GPU's UUID (`GPU-...`) or index, as CUDA_VISIBLE_DEVICES takes it, or the PCI address of AMD's and Intel's;
    None for a share of the processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """How an engine would run its tasks on this machine."""

    what: str
    """The fact, lower case, without a final period."""
    fix: str | None = None
    """What makes it better; None where all is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineShare:
    """Where a local engine runs."""

    device: Device
    threads: int
    """Its share of the processor (cores // slots), at least 1."""
    locate: Callable[[str], Path]
    """Finds a model by its name. Raises: CorralError."""
    log_dir: Path
    environments: Environments = field(default_factory=Environments)
    """Where engines have packages of their own."""
    lanes: int = 1
    """How many attempts its engine does at once."""

    def name_log(self, engine: str) -> Path:
        """Return the file for what the engine's process prints."""
        return name_worker_log(self.log_dir, engine, self.device.name)

    def make_environment(self, devices: tuple[str, ...], nvidia: Sequence[Path] | None = None) -> dict[str, str]:
        """Return the environment of a new process, with these GPUs or its device's own, and a mark of its own.

        `nvidia` are the folders of NVIDIA's packages that it finds libraries in; those next to Corral when None.
        """
        packages = list_own_nvidia() if nvidia is None else nvidia
        gpus = devices or ((self.device.gpu,) if self.device.gpu else ())
        base = add_libraries(os.environ, list_cuda_libraries(packages)) if gpus else os.environ
        return make_worker_environment(base, gpus=gpus, threads=self.threads, mark=make_mark(self.log_dir))


def name_worker_log(log_dir: Path, engine: str, device: str) -> Path:
    """Return the file for what an engine's process on a device prints; `device` is its name on the node: `gpu0`."""
    return log_dir / f"{engine}-{device}.log"


_SECRET = re.compile(
    r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|DATABASE_URL|WEBHOOK|DSN$|^PG", re.I
)
"""Names of variables that hold secrets by convention, `CORRAL_DATABASE_URL` and `HF_TOKEN` among them; what runs in a
worker (any program, with `command`) needs none of them: models come from the store."""


_SECRET_VALUE = re.compile(
    r"(?:[a-z0-9+]+://[^/\s]*@|(?!(?:https?|socks[45]?h?|ftp|file|unix|tcp|ssh|npipe|git)://)[a-z0-9+]+://|whsec_)",
    re.I,
)
"""URLs that name a user, URLs of services (databases, brokers, what `notify` of the cluster file sends to), and signing
secrets of webhooks."""


def drop_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that hold no secret by their name or the look of their value."""
    return {
        name: value
        for name, value in environment.items()
        if not _SECRET.search(name) and not _SECRET_VALUE.match(value)
    }


def make_worker_environment(base: Mapping[str, str], *, gpus: Sequence[str], threads: int, mark: str) -> dict[str, str]:
    """Return a worker's environment: its own GPUs or none, its share of the processor, and no secret of the server."""
    return {
        **drop_secrets(base),
        MARK: mark,
        **list_visible(gpus),
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",  # models come from the store; an engine never downloads
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",  # a crash in native code leaves its stack in the log
    }


def list_cuda_libraries(packages: Sequence[Path]) -> tuple[Path, ...]:
    """Return the folders of NVIDIA's libraries below those of its wheels (`corral[cuda]`)."""
    return tuple(folder for package in packages for folder in sorted(package.glob("*/lib")) if folder.is_dir())


def add_libraries(base: Mapping[str, str], folders: Sequence[Path]) -> dict[str, str]:
    """Return an environment in which a process finds these libraries; those that the user named go first.

    The loader reads the variable when a process starts, so a worker cannot set it for itself.
    """
    named = base.get(_LIBRARY_PATH)
    paths = (*((named,) if named else ()), *map(str, folders))
    return {**base, _LIBRARY_PATH: os.pathsep.join(paths)} if folders else dict(base)


def locate_model(locate: Callable[[str], Path], engine: str, model: str | None) -> Path:
    """Return the file or folder of a task's model. Raises: TaskInvalidError."""
    if model is None:
        raise TaskInvalidError(f"a {engine} task needs a model", hint="name one; `corral models list` shows them")
    try:
        return locate(model)
    except CorralError as error:
        raise TaskInvalidError(error.what, where=error.where, hint=error.hint) from error
