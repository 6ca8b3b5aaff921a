"""The containers in which servers of instances run, as the programs that run them list them.

What is in a container of Docker descends from its daemon, not from Corral; its id is in its control group.
Sources: docker-ps(1), podman-ps(1), docker-compose-ps(1).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from corral.cluster.values import Cluster, Instance
from corral.engines.servers.directory import Directory
from corral.engines.servers.ways import LABEL

log = structlog.get_logger()

LISTED_FOR_S = 30.0
"""Between two lists while the same servers run."""
LIST_DEADLINE_S = 5.0
"""A daemon that hangs must not keep the GPUs from being looked at."""


def name_listing(engine: str, instance: Instance, home: Path) -> tuple[str, ...] | None:
    """Return the command that prints the id of an instance's container; None where it runs in none."""
    run = instance.run
    if run is not None and run.container is not None:
        label = f"--filter=label={LABEL}={engine}/{instance.name}"
        return run.container.program, "ps", "--quiet", "--no-trunc", label
    if run is not None and run.compose is not None:
        file = run.compose.file
        path = home / file.removeprefix("~/") if file.startswith("~/") else file
        return run.compose.program, "compose", f"--file={path}", "ps", "--quiet", "--no-trunc", run.compose.service
    return None


class ContainerList:
    """The ids of the containers of instances that run now."""

    def __init__(self, directory: Directory, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._monotonic = monotonic
        self._known: tuple[tuple[str, ...], ...] = ()
        self._ids: frozenset[str] = frozenset()
        self._due = 0.0

    async def list_ids(self, cluster: Cluster) -> frozenset[str]:
        """List them; what was listed before stands for a while, and where a program does not answer."""
        commands = tuple(
            command
            for name, settings in cluster.engines.items()
            for instance in settings.instances
            if (command := name_listing(name, instance, Path.home())) is not None
            and self._directory.find_url(name, instance) is not None
        )
        now = self._monotonic()
        if commands != self._known or (commands and now >= self._due):
            self._known, self._due = commands, now + LISTED_FOR_S
            listed = await asyncio.gather(*map(_run, commands))
            self._ids = frozenset(id for ids in listed for id in ids)
        return self._ids


async def _run(command: Sequence[str]) -> tuple[str, ...]:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        log.warning("containers_not_listed", command=command[0], error=str(error))
        return ()
    try:
        output, _ = await asyncio.wait_for(process.communicate(), LIST_DEADLINE_S)
    except TimeoutError:
        log.warning("containers_not_listed", command=command[0], error=f"no answer within {LIST_DEADLINE_S:g} s")
        return ()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return tuple(output.decode(errors="replace").split())
