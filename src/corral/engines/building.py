"""Builds the engines of slots: in worker processes of this machine, or reached by URL.

Belongs here: turning a slot's device, threads and settings into a worker's command, environment and settings, and an
instance's URL and settings into its adapter.
Does not belong here: which slots there are, which slot an instance computes for.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from corral.engine_kinds import ENGINES
from corral.engines.inputs import load_options, load_reference, read_options
from corral.engines.local.engine import Launch, LocalEngine, install_command
from corral.processes.bounded_log import BoundedLog
from corral.processes.leftovers import MARK, make_mark
from corral.work import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The device that a slot computes on."""

    name: str
    """Unique on its node; names the log file: `gpu0`, `cpu1`."""
    gpu: str | None = None
    """The GPU's UUID (`GPU-...`) or index, as CUDA_VISIBLE_DEVICES takes it; None for a share of the processor."""


def build(
    name: str,
    *,
    device: Device,
    threads: int,
    options: Mapping[str, Any],  # Any: JSON from the cluster file, checked here
    locate: Callable[[str], Path],
    log_dir: Path,
) -> Engine:
    """Return the engine for one slot; nothing is started before its first task.

    `threads` is the slot's share of the processor (cores // slots); `locate` finds a model by its name.
    Raises: ProblemsError when `options` are wrong.
    """
    kind = ENGINES[name]
    settings = read_options(load_options(kind), name, options)
    if kind.in_process is not None:
        return cast("Callable[[], Engine]", load_reference(kind.in_process))()  # the registry's own; a test builds all
    launch = Launch(
        command=(sys.executable, "-P", "-m", "corral.engines.worker", name),
        environment=lambda devices: make_worker_environment(
            os.environ, gpus=",".join(devices) or device.gpu, threads=threads, mark=make_mark(log_dir)
        ),
        settings={
            "gpu": device.gpu is not None,
            "threads": threads,
            "options": settings.model_dump(mode="json"),
            "hint": install_command(kind),
        },
        log=BoundedLog(log_dir / f"{name}-{device.name}.log"),
    )
    return LocalEngine(kind, launch, locate)


_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|DATABASE_URL|DSN$|^PG", re.I)
"""Names of variables that hold secrets by convention, `CORRAL_DATABASE_URL` and `HF_TOKEN` among them; what runs in a
worker (any program, with `command`) needs none of them: models come from the store."""


def make_worker_environment(base: Mapping[str, str], *, gpus: str | None, threads: int, mark: str) -> dict[str, str]:
    """Return a worker's environment: its own GPUs or none, its share of the processor, and no secret of the server."""
    return {
        **{name: value for name, value in base.items() if not _SECRET.search(name)},
        MARK: mark,
        "CUDA_VISIBLE_DEVICES": gpus or "",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # so that an index means the same to CUDA and to NVML
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",  # models come from the store; an engine never downloads
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",  # a crash in native code leaves its stack in the log
    }


def build_remote(
    name: str,
    *,
    url: str,
    options: Mapping[str, Any],  # Any: JSON from the cluster file, checked here
) -> Engine:
    """Return the adapter for one instance; it is not contacted before its first task.

    Raises: ProblemsError when `options` are wrong; KeyError when `name` is not an engine that is reached by URL.
    """
    adapter = ENGINES[name].adapter
    if adapter is None:
        raise KeyError(name)
    make = cast("Callable[[str, Mapping[str, Any]], Engine]", load_reference(adapter))  # Any: as above
    return make(url, options)
