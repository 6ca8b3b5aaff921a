"""Looks at this machine's GPUs while the server runs, and hands what was seen to the dispatcher's devices.

A look is made every two seconds, and at once where a start asks for it. Each is made in a thread of its own that no end
of the server waits for: a driver can hang for good. After a suspend, which shows in the clock that goes on meanwhile,
the driver is opened anew.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import structlog

from corral.cluster.values import Cluster
from corral.engines.servers.directory import Directory
from corral.server.slots_here import find_here
from corral.tasks.device_care import DeviceCare
from corral.tasks.store.pool import CONNECTION_LOST, Pool
from corral.telemetry.gpu_watch import GpuLook, GpuWatch
from corral.telemetry.ownership import Own

log = structlog.get_logger()

LOOK_EVERY_S = 2.0
SILENT_AFTER_S = 15.0
"""A look that takes longer means that the driver hangs: it answers within a second also while a GPU is reset."""
SLEPT_S = 3.0
"""A suspend is at least this long; clocks that are read one after the other differ by less."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def measure_sleep() -> float:
    """Return the seconds for which the machine has been suspended since it started (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


class GpuLooks:
    """Looks at GPUs for one server."""

    def __init__(
        self,
        care: DeviceCare,
        watch: GpuWatch,
        read_own: Callable[[], Awaitable[Own]],
        pool: Pool,
        *,
        silent_after_s: float = SILENT_AFTER_S,
        measure_sleep: Callable[[], float] = measure_sleep,
    ) -> None:
        """`read_own` says by what this server's processes are known now."""
        self._care = care
        self._watch = watch
        self._read_own = read_own
        self._pool = pool
        self._pending: asyncio.Future[GpuLook] | None = None
        self._silent_after_s = silent_after_s
        self._measure_sleep = measure_sleep
        self._asleep_s = measure_sleep()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            self._care.look_asked.clear()
            self._note_sleep()
            if self._care.has_gpus:
                await self._look()
            else:
                self._care.note_without_look()
            for write in (self._care.write_story, self._care.energy.write):
                try:
                    await write(self._pool)
                except (*CONNECTION_LOST, asyncpg.PostgresError) as error:  # the next look writes it
                    log.warning("look_not_written", error=str(error) or type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._care.look_asked.wait()

    def _note_sleep(self) -> None:
        before, self._asleep_s = self._asleep_s, self._measure_sleep()
        if self._asleep_s - before >= SLEPT_S:
            log.info("machine_slept", seconds=round(self._asleep_s - before))
            self._care.note_sleep(self._asleep_s - before)
            if self._pending is None:
                self._watch.close()

    async def _look(self) -> None:
        """Look once; one that does not come back is waited for by the next, and shown as the driver's silence."""
        self._pending = self._pending or _start_thread(self._watch, await self._read_own())
        done, _ = await asyncio.wait({self._pending}, timeout=self._silent_after_s)
        if not done:
            self._care.note_look({}, absent=f"the driver has not answered for {self._silent_after_s:g} s")
            return
        finished, self._pending = self._pending, None
        look = finished.result()
        self._care.note_look(look.uses, absent=look.nvidia_problem)


def _start_thread(watch: GpuWatch, own: Own) -> asyncio.Future[GpuLook]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[GpuLook] = loop.create_future()

    def settle(look: GpuLook | None, error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        elif look is not None:
            future.set_result(look)

    def look() -> None:
        seen: tuple[GpuLook | None, Exception | None]
        try:
            seen = watch.look(own, time.monotonic()), None
        except Exception as error:  # noqa: BLE001 (it is raised where the look is waited for)
            seen = None, error
        with suppress(RuntimeError):  # the server has stopped meanwhile
            loop.call_soon_threadsafe(settle, *seen)

    threading.Thread(target=look, name="gpu-look", daemon=True).start()
    return future


def describe_own(cluster: Cluster, logs: Path, directory: Directory, containers: frozenset[str]) -> Own:
    """Return by what the processes of this server are known: its own, and those of instances here.

    An instance that Corral runs is not always below it: a unit of systemd is known by its port, a container by its id.
    """
    here = find_here(cluster)
    hosts = _LOOPBACK | {socket.gethostname()} | ({here.address} if here is not None and here.address else set[str]())
    urls = [
        urlsplit(url)
        for name, settings in cluster.engines.items()
        for instance in settings.instances
        if here is not None and instance.node == here.name and (url := directory.find_url(name, instance)) is not None
    ]
    ports = {url.port or {"http": 80, "https": 443}[url.scheme] for url in urls if url.hostname in hosts}
    return Own(server=os.getpid(), logs=logs, ports=frozenset(ports), containers=containers)
