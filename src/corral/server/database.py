"""The PostgreSQL server that comes with Corral: started in the data directory, started again when it dies.

It listens on a socket in its own folder and on no network address; only the user who owns the folder can reach it.

It outlives a Corral that is killed, and is found again by the next one. Whatever is killed, at whatever moment (this
program, `initdb`, the postmaster while it starts, one of its children), the next start repairs it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import psutil
import structlog

from corral.cluster import Cluster
from corral.data_dir import SettingsError
from corral.errors import CorralError, Kind
from corral.server.settings import ServerSettings
from corral.tasks.alarms import Alarms
from corral.tasks.store.pool import DatabaseUnavailableError, connect, translate_loss
from corral.tasks.supervision import supervise

if TYPE_CHECKING:
    from corral.server.postgres import OwnServer

log = structlog.get_logger()

DATABASE = "corral"
WATCH_EVERY_S = 0.5
START_TRIES = 120
"""A minute, at `WATCH_EVERY_S`. After a SIGKILL of the postmaster its children take a moment to notice, and until then
a new one refuses to start; after a crash it replays its log, and until then it refuses connections."""
FAILED_STARTS = 20
"""Starts that can fail for other reasons before the first start gives up."""
ONE_START_S = 30.0
"""The library waits for ever for a postmaster that was killed just when it had become ready."""
LOG_LIMIT = 16 * 1024 * 1024
_SETTINGS = {
    "max_connections": "40",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "jit": "off",  # the queue's statements are short: compiling them costs more than it saves
    "log_min_messages": "warning",
    # After a crash, one call instead of one per file: on a busy disk, a thousand of them were seen to take 30 s.
    **({"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}),
}

_FAILURES = (subprocess.SubprocessError, RuntimeError, OSError, AssertionError, ValueError, TimeoutError)
"""Errors of the library when a program fails or a file is not as it expects."""


class EmbeddedDatabaseError(CorralError):
    """The embedded PostgreSQL does not start."""

    code: ClassVar[str] = "database.embedded_failed"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class EmbeddedDatabase:
    """One PostgreSQL server in one folder. Only one Corral uses the folder at a time; see `presence.hold_data_dir`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: OwnServer | None = None

    async def start(self) -> str:
        """Start the server, or find it running, and return the URL of Corral's database.

        Raises: EmbeddedDatabaseError.
        """
        try:
            self._server = await asyncio.to_thread(_open, self._folder)
        except _FAILURES as error:
            raise self._not_started(error) from error
        await self._make_database(self._server)
        return self._server.get_uri(DATABASE)

    async def watch(self) -> None:
        """Start the server again whenever it dies, for ever."""
        server = self._server
        assert server is not None, "start comes before watch"
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            if _alive(server):
                continue
            log.warning("embedded_database_died")
            if await self._try_start(server) is None:
                log.info("embedded_database_restarted")

    async def stop(self) -> None:
        """Stop the server in order; returns when it has stopped."""
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)

    async def _make_database(self, server: OwnServer) -> None:
        """Start the server if it does not run, and make Corral's database as soon as it accepts connections."""
        failed = 0
        problem: Exception = EmbeddedDatabaseError("it was not tried")
        for _ in range(START_TRIES):
            failure = None if _alive(server) else await self._try_start(server)
            try:
                if failure is None:
                    return await _make_missing(server.get_uri())
            except DatabaseUnavailableError as error:
                problem = error
            else:
                problem, failed = failure, failed + 1
            if failed >= FAILED_STARTS:
                break
            await asyncio.sleep(WATCH_EVERY_S)
        raise self._not_started(problem) from problem

    async def _try_start(self, server: OwnServer) -> Exception | None:
        """Start the server, or find it running; return why that did not work."""
        try:
            await asyncio.wait_for(asyncio.to_thread(_start, server, self._folder), ONE_START_S)
        except _FAILURES as error:
            log.warning("embedded_database_not_started", error=str(error) or type(error).__name__)
            return error
        return None

    def _not_started(self, error: Exception) -> EmbeddedDatabaseError:
        return EmbeddedDatabaseError(
            f"the embedded PostgreSQL does not start: {str(error) or type(error).__name__}",
            where=str(self._folder / "log"),
            hint="read the end of that log; `corral doctor` checks disk and memory",
        )


async def _make_missing(url: str) -> None:
    """Make Corral's database where there is none. Raises: DatabaseUnavailableError."""
    admin = await connect(url)
    try:
        with translate_loss():
            if not await admin.fetchval("select true from pg_database where datname = $1", DATABASE):
                await admin.execute(f"create database {DATABASE}")
    finally:
        admin.terminate()


def _open(folder: Path) -> OwnServer:
    from corral.server.postgres import open_server

    return open_server(folder, [f"{name} = '{value}'" for name, value in _SETTINGS.items()])


def _start(server: OwnServer, folder: Path) -> None:
    log_file = folder / "log"
    if log_file.exists() and log_file.stat().st_size > LOG_LIMIT:
        log_file.unlink()
    pid_file = folder / "postmaster.pid"
    if pid_file.exists() and not any(_works_in(process, folder) for process in psutil.process_iter()):
        # Its number can be another program's by now (after a power cut, most likely), and it can be half written: both
        # keep the library from starting the server.
        pid_file.unlink(missing_ok=True)
    server.ensure_postgres_running()
    if not _alive(server):  # a killed postmaster that is not reaped yet looks to the library as if it ran
        raise RuntimeError("what is left of the one that was killed has not ended yet")


def _works_in(process: psutil.Process, folder: Path) -> bool:
    """Whether this is a PostgreSQL process of that folder; the postmaster's children are found as well."""
    with suppress(psutil.Error, OSError):
        if process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE:
            return Path(process.cwd()) == folder.resolve()
    return False


def _alive(server: OwnServer) -> bool:
    with suppress(psutil.Error, AssertionError):  # AssertionError: it was never started
        process = server.get_postmaster_info().process
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@asynccontextmanager
async def open_database(settings: ServerSettings, cluster: Cluster, alarms: Alarms) -> AsyncGenerator[str, None]:
    """Give the URL of the database, and keep the embedded one running while the context lasts."""
    url = settings.database_url
    if url is None and cluster.database_url_env is not None:
        url = os.environ.get(cluster.database_url_env)
        if url is None:
            raise SettingsError(
                f"the environment variable {cluster.database_url_env} is not set",
                hint="set it to a PostgreSQL URL, or remove `database` from the cluster file for the embedded server",
            )
    if url is not None:
        yield url
        return
    database = EmbeddedDatabase(settings.data_dir / "postgres")
    starting = asyncio.create_task(database.start(), name="embedded-database-start")
    watching: asyncio.Task[None] | None = None
    try:
        url = await asyncio.shield(starting)  # a start that is cut off would leave a server that runs for ever
        watching = asyncio.create_task(supervise("database_watch", database.watch, alarms), name="embedded-database")
        yield url
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await asyncio.gather(starting, return_exceptions=True)
        await database.stop()
