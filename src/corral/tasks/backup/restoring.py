"""Lays a backup out: its files in a data directory, its database in an empty one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.tasks.backup import archive
from corral.tasks.backup.archive import Manifest
from corral.tasks.backup.dumps import fill_database
from corral.tasks.migrations import KNOWN, DatabaseNewerError
from corral.tasks.store.pool import connect

_END_LEASES = """
update tasks set lease_until = now() - interval '1 s' where id in (select task_id from slot_leases)
"""


class DatabaseInUseError(CorralError):
    """The database to restore into has tables."""

    code: ClassVar[str] = "backup.database_in_use"
    kind: ClassVar[Kind] = Kind.CONFLICT


def check_backup(path: Path) -> Manifest:
    """Read what a backup contains. Raises: BackupDamagedError, BackupNewerError, DatabaseNewerError, OSError."""
    manifest = archive.read_manifest(path)
    if manifest.schema not in KNOWN:
        raise DatabaseNewerError(
            f"the backup's database has schema {manifest.schema}; this program knows schemas up to {max(KNOWN)}",
            where=str(path),
            hint=f"use Corral {manifest.corral} or newer",
        )
    return manifest


async def unpack_files(path: Path, folder: Path) -> None:
    """Check the whole backup and write its files below a folder. Raises: BackupDamagedError, OSError."""
    await asyncio.to_thread(_unpack, path, folder)


def _unpack(path: Path, folder: Path) -> None:
    archive.unpack(path, folder)
    for artifact in (folder / archive.ARTIFACTS).glob("??/*"):
        artifact.chmod(0o444)  # as the artifact store has them
    os.sync()


async def fill_empty_database(url: str, folder: Path) -> None:
    """Fill an empty database with the dump that was unpacked there, whole or not at all.

    Raises: DatabaseInUseError, DatabaseUnavailableError, DumpError.
    """
    connection = await connect(url)
    try:
        if await connection.fetchval("select to_regclass('alembic_version')") is not None:
            what = "the database has Corral's tables already"
            raise DatabaseInUseError(what, hint="name an empty database, or none for the embedded one")
    finally:
        connection.terminate()
    await fill_database(url, folder / archive.DUMP)


async def end_leases(url: str) -> None:
    """End the leases of the attempts in a database that was filled, however long the database takes.

    They belong to the server of which this is a copy. As the copy has a name of its own, its server finds them run out
    and queues their tasks again, once. Raises: DatabaseUnavailableError, PostgresError.
    """
    connection = await connect(url, command_timeout_s=None)
    try:
        await connection.execute(_END_LEASES)
    finally:
        connection.terminate()
