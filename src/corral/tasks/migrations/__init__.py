"""Brings a database to this program's schema: forward only, under a lock, in a process of its own.

A process of its own keeps SQLAlchemy and Alembic out of the server's memory; on every start but the first after an
upgrade, one query says that there is nothing to do.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.tasks.store.pool import DatabaseUnavailableError, connect, translate_loss

KNOWN = frozenset(path.name.partition("_")[0] for path in (Path(__file__).parent / "versions").glob("[0-9]*_*.py"))
"""The revisions in `versions/`, by the numbers that their files begin with; a test compares them with Alembic's."""
HEAD = max(KNOWN)
MIN_SERVER_VERSION = 150000
"""PostgreSQL 15, as `server_version_num`."""
URL_VARIABLE = "CORRAL_MIGRATE_URL"
"""Hands the URL to the migrating process: a command line would show a password to everybody on the machine."""

LOCK = 0x636F7272
"""PostgreSQL's number ("corr") of the lock under which two servers that start at once migrate one after the other."""
LOCKED_OUT = 75
"""The migrating process ends with this code when others held a table for too long (EX_TEMPFAIL of sysexits.h)."""
UNAVAILABLE = 69
"""It ends with this code when the database was lost, or its disk is full (EX_UNAVAILABLE)."""
LOCK_PATIENCE_S = 30.0


class DatabaseNewerError(CorralError):
    """The database was migrated by a newer Corral; this one must not touch it."""

    code: ClassVar[str] = "database.newer"
    kind: ClassVar[Kind] = Kind.CONFLICT


class DatabaseTooOldError(CorralError):
    """The PostgreSQL server is older than Corral supports."""

    code: ClassVar[str] = "database.server_too_old"
    kind: ClassVar[Kind] = Kind.INVALID


class MigrationError(CorralError):
    """A migration failed; the database is as it was before."""

    code: ClassVar[str] = "database.migration_failed"
    kind: ClassVar[Kind] = Kind.BUG


class DatabaseLockedError(CorralError):
    """Others hold a table that a migration changes; the database is as it was before."""

    code: ClassVar[str] = "database.locked"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


async def migrate(url: str, *, lock_patience_s: float = LOCK_PATIENCE_S) -> None:
    """Bring the database at `url` to `HEAD`.

    `lock_patience_s` bounds the wait for a table that others hold; all others wait behind it meanwhile.
    Raises: DatabaseNewerError, DatabaseTooOldError, DatabaseUnavailableError, DatabaseLockedError, MigrationError.
    """
    if await read_revision(url) == HEAD:
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "corral.tasks.migrations.run",
        str(lock_patience_s),
        env={**os.environ, URL_VARIABLE: url},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()
    if process.returncode == LOCKED_OUT:
        raise DatabaseLockedError(
            f"another program holds a table that the migration to {HEAD} changes, for more than {lock_patience_s:g} s",
            hint="wait until dumps of the database have ended, stop other Corral servers on it, then start again",
        )
    if process.returncode != 0:
        last = "".join(stderr.decode(errors="replace").strip().splitlines()[-1:])
        if process.returncode == UNAVAILABLE:
            what = f"PostgreSQL did not finish the migration to {HEAD}: {last}"
            raise DatabaseUnavailableError(what, hint="`corral doctor` checks disk and memory; then start again")
        raise MigrationError(f"the migration to {HEAD} ended with exit code {process.returncode}: {last}")


async def read_revision(url: str) -> str | None:
    """Return the schema that a database has; None when it is empty.

    Raises: DatabaseNewerError, DatabaseTooOldError, DatabaseUnavailableError.
    """
    connection = await connect(url)
    try:
        with translate_loss():
            version = int(await connection.fetchval("select current_setting('server_version_num')"))
            if version < MIN_SERVER_VERSION:
                raise DatabaseTooOldError(
                    f"the PostgreSQL server has version {version // 10000}; 15 is the oldest that Corral supports",
                    hint="use a newer server, or leave out `database` for the embedded one",
                )
            if await connection.fetchval("select to_regclass('alembic_version')") is None:
                return None
            revision: str | None = await connection.fetchval("select version_num from alembic_version")
    finally:
        connection.terminate()
    if revision is not None and revision not in KNOWN:
        raise DatabaseNewerError(
            f"the database has schema {revision}; this program knows schemas up to {HEAD}",
            hint="upgrade Corral, go back with the newer one's `corral rollback`, or use another data directory",
        )
    return revision
