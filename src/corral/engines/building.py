"""Builds the engines of slots: in worker processes or servers of this machine, or reached by URL.

Belongs here: turning a slot's device, threads and settings into a worker's command, environment and settings, and an
instance's URL and settings into its adapter.
Does not belong here: which slots there are, which slot an instance computes for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from corral.data_dir import KEPT_FOLDER
from corral.engine_kinds import ENGINES
from corral.engines.cluster_seams import ClusterSeams, JoinsServer
from corral.engines.credentials import Credentials
from corral.engines.environments.finding import Environments
from corral.engines.inputs import load_options, load_reference, read_options
from corral.engines.local.engine import Launch, LocalEngine
from corral.engines.local.registering import ModelShelf
from corral.engines.machine_share import Device, MachineShare
from corral.engines.schema import EngineOptions
from corral.processes.bounded_log import BoundedLog
from corral.work import Engine, HoldBook


def build(
    name: str,
    *,
    device: Device,
    threads: int,
    lanes: int = 1,
    options: Mapping[str, Any],  # Any: JSON from the cluster file, checked here
    locate: Callable[[str], Path],
    log_dir: Path,
    holds: HoldBook | None = None,
    environments: Environments = Environments(),  # noqa: B008 (a frozen value)
    keep: Path | None = None,
    shelf: ModelShelf | None = None,
) -> Engine:
    """Return the engine for one slot; nothing is started before its first task.

    `threads` is the slot's share of the processor (cores // slots), `lanes` how many attempts the engine does at once;
    `locate` finds a model by its name; `holds` is needed by an engine that lends its devices; `environments` are those
    of engines that have one of their own. What outlives attempts is below `keep` (next to the logs when None); `shelf`
    is needed by an engine whose results become models.
    Raises: ProblemsError when `options` are wrong.
    """
    kind = ENGINES[name]
    settings = read_options(load_options(kind), name, options)
    if kind.in_process is not None:
        return cast("Callable[[], Engine]", load_reference(kind.in_process))()  # the registry's own; a test builds all
    if kind.held is not None:
        assert holds is not None, "devices are lent only by a server, which keeps a book of it"
        return cast("Callable[[HoldBook], Engine]", load_reference(kind.held))(holds)  # as above
    share = MachineShare(
        device=device, threads=threads, locate=locate, log_dir=log_dir, environments=environments, lanes=lanes
    )
    if kind.served is not None:
        make = cast("Callable[[MachineShare, EngineOptions], Engine]", load_reference(kind.served))  # as above
        return make(share, settings)
    launch = Launch(
        command=lambda: (environments.require(kind).python, "-P", "-m", "corral.engines.worker", name),
        environment=lambda devices: share.make_environment(devices, environments.require(kind).nvidia),
        settings={
            "gpu": device.gpu is not None,
            "threads": threads,
            "options": settings.model_dump(mode="json"),
            "hint": environments.write_command(kind),
            "keep": str((keep or log_dir.parent / KEPT_FOLDER) / name),
        },
        log=BoundedLog(share.name_log(name)),
    )
    return LocalEngine(kind, launch, locate, shelf)


def build_remote(
    name: str,
    *,
    url: str,
    options: Mapping[str, Any],  # Any: JSON from the cluster file, checked here
    credentials: Credentials = Credentials(),  # noqa: B008 (a frozen value)
    seams: ClusterSeams | None = None,
) -> Engine:
    """Return the adapter for one instance; it is not contacted before its first task.

    `seams` are for engines whose jobs run on a cluster.
    Raises: ProblemsError when `options` are wrong; KeyError when `name` is not an engine that is reached by URL.
    """
    adapter = ENGINES[name].adapter
    if adapter is None:
        raise KeyError(name)
    make = cast("Callable[[str, Mapping[str, Any], Credentials], Engine]", load_reference(adapter))  # Any: as above
    engine = make(url, options, credentials)
    if seams is not None and isinstance(engine, JoinsServer):
        engine.join(seams)
    return engine
