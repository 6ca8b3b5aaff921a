"""Backups of the database before a migration, and the way back.

A migration changes the database alone, so its dump is enough; files stay where they are. The dump is whole before the
migration begins, and a migration is one transaction: when either fails, the database is as it was.

Going back puts the tables of now aside, fills the dump in, and removes them; what fails in between puts them back. All
of this is the schema `public`, with whatever else is in it; other schemas of the database stay as they are. A process
that is killed in between leaves the tables aside, and the next start reports that before anything uses the database.
"""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import asyncpg

from corral.errors import CorralError, Kind
from corral.files import sync_folder
from corral.tasks.artifacts import count_free
from corral.tasks.backup.dumps import dump_database, fill_database
from corral.tasks.migrations import HEAD, MigrationError, migrate, read_revision
from corral.tasks.store.pool import Connection, connect, translate_loss
from corral.units import Bytes, format_bytes

KEPT = 3
"""Backups that are kept: an upgrade that went wrong is noticed before two more."""
_ASIDE = "corral_before_rollback"
"""The schema that has the tables of now while a dump is filled in."""
_NAME = re.compile(r"schema-(?P<schema>[0-9]{4})-(?P<at>[0-9]{8}T[0-9]{6}Z)\.dump")
_BEGUN = ".begun"
_TIME = "%Y%m%dT%H%M%SZ"


class NoUpgradeBackupError(CorralError):
    """The database cannot be saved before a migration, so it is not migrated."""

    code: ClassVar[str] = "database.not_saved"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


class UpgradeBackupMissingError(CorralError):
    """There is no backup of the database from before an upgrade."""

    code: ClassVar[str] = "database.no_upgrade_backup"
    kind: ClassVar[Kind] = Kind.MISSING


class RollbackBrokenOffError(CorralError):
    """A rollback of this database was killed before its end."""

    code: ClassVar[str] = "database.rollback_broken_off"
    kind: ClassVar[Kind] = Kind.CONFLICT


class DatabaseConnectedError(CorralError):
    """Other programs are connected to the database of a rollback."""

    code: ClassVar[str] = "database.in_use"
    kind: ClassVar[Kind] = Kind.CONFLICT


class RollbackDeniedError(CorralError):
    """The database's user cannot put its tables aside."""

    code: ClassVar[str] = "database.rollback_denied"
    kind: ClassVar[Kind] = Kind.DENIED


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeBackup:
    """A dump of the database from before a migration."""

    path: Path
    schema: str
    """The schema that it has, as the migrations number it."""
    at: datetime
    size: Bytes


def list_upgrade_backups(folder: Path) -> list[UpgradeBackup]:
    """List the backups of a folder, newest first."""
    if not folder.is_dir():
        return []
    backups = (_read_name(path) for path in folder.iterdir())
    return sorted((backup for backup in backups if backup is not None), key=lambda backup: backup.at, reverse=True)


def find_upgrade_backup(folder: Path, file: Path | None) -> UpgradeBackup:
    """Return the newest backup of a folder, or a file that is one. Raises: UpgradeBackupMissingError."""
    if file is None:
        backups = list_upgrade_backups(folder)
        if backups:
            return backups[0]
        raise UpgradeBackupMissingError(
            "no backup from before an upgrade is there", where=str(folder), hint="name a file that is one"
        )
    backup = _read_name(file) if file.is_file() else None
    if backup is None:
        raise UpgradeBackupMissingError(
            "the file is not a backup from before an upgrade",
            where=str(file),
            hint="`corral restore` takes those that `corral backup` wrote",
        )
    return backup


async def upgrade_database(url: str, folder: Path, *, reserve: Bytes) -> UpgradeBackup | None:
    """Bring the database to this program's schema; one that has another is saved into the folder first.

    Returns that backup; None where there was nothing to save.

    Raises: DatabaseLockedError, DatabaseNewerError, DatabaseTooOldError, DatabaseUnavailableError, DumpError,
    MigrationError, NoUpgradeBackupError, RollbackBrokenOffError.
    """
    await _refuse_broken_off(url)
    schema = await read_revision(url)
    if schema is None or schema == HEAD:
        await migrate(url)
        return None
    backup = await _save(url, folder, schema, reserve)
    try:
        await migrate(url)
    except MigrationError as error:
        raise MigrationError(
            error.what,
            hint=f"report this; the version before starts with the database as it was; it is saved in {backup.path}",
        ) from error
    for old in list_upgrade_backups(folder)[KEPT:]:
        old.path.unlink(missing_ok=True)
    return backup


async def roll_back(url: str, backup: UpgradeBackup) -> None:
    """Make the database what it was when the backup was taken, whole or not at all. No server can run on it.

    What was submitted, done or changed since is gone from it.

    Raises: DatabaseConnectedError, DatabaseUnavailableError, DumpError, RollbackDeniedError.
    """
    connection = await connect(url, command_timeout_s=None)
    try:
        await _refuse_others(connection)
        try:
            await _put_aside(connection)
        except asyncpg.InsufficientPrivilegeError as error:
            raise RollbackDeniedError(
                f"PostgreSQL does not let this user put the tables of now aside: {error}; nothing was changed",
                hint="as the database's administrator run `alter schema public owner to USER` and"
                " `grant create on database NAME to USER`, then this again",
            ) from error
        try:
            await fill_database(url, backup.path, schema="public")
        except BaseException:
            async with connection.transaction():
                await connection.execute("drop schema public cascade")
                await connection.execute(f"alter schema {_ASIDE} rename to public")
            raise
        await connection.execute(f"drop schema {_ASIDE} cascade")
    finally:
        connection.terminate()


async def _save(url: str, folder: Path, schema: str, reserve: Bytes) -> UpgradeBackup:
    for leftover in folder.glob(f"*{_BEGUN}"):  # of a start that was killed; they take the room of this one
        leftover.unlink(missing_ok=True)
    await _refuse_without_room(url, folder, reserve)
    at = datetime.now(UTC).replace(microsecond=0)
    path = folder / f"schema-{schema}-{at.strftime(_TIME)}.dump"
    begun = path.with_suffix(_BEGUN)
    try:
        await dump_database(url, begun)
        await asyncio.to_thread(_sync, begun)
        begun.rename(path)
        sync_folder(folder)
    finally:
        begun.unlink(missing_ok=True)
    return UpgradeBackup(path=path, schema=schema, at=at, size=Bytes(path.stat().st_size))


async def _refuse_without_room(url: str, folder: Path, reserve: Bytes) -> None:
    connection = await connect(url)
    try:
        with translate_loss():
            size = Bytes(await connection.fetchval("select pg_database_size(current_database())"))
    finally:
        connection.terminate()
    folder.mkdir(mode=0o700, exist_ok=True)
    free = count_free(folder)
    if free is not None and free < size + reserve:
        raise NoUpgradeBackupError(
            f"the database has {format_bytes(size)}, and {format_bytes(free)} are free to save it before it is"
            f" migrated; {format_bytes(reserve)} are kept in reserve",
            where=str(folder),
            hint="free some space, or make the folder a link to a larger disk; the version before goes on meanwhile",
        )


async def _refuse_broken_off(url: str) -> None:
    connection = await connect(url)
    try:
        with translate_loss():
            is_broken_off = await connection.fetchval("select to_regnamespace($1) is not null", _ASIDE)
        if is_broken_off:
            raise RollbackBrokenOffError(
                "a rollback of this database was killed before its end", hint="run `corral rollback` again"
            )
    finally:
        connection.terminate()


async def _refuse_others(connection: Connection) -> None:
    others: int = await connection.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and pid <> pg_backend_pid() and backend_type = 'client backend'"
    )
    if others:
        raise DatabaseConnectedError(
            f"other connections to the database are open: {others}", hint="stop every server that uses it"
        )


async def _put_aside(connection: Connection) -> None:
    """Put the tables of now aside; what a rollback that was killed has filled in is removed."""
    async with connection.transaction():
        if await connection.fetchval("select to_regnamespace($1) is not null", _ASIDE):
            await connection.execute("drop schema if exists public cascade")
        else:
            await connection.execute(f"alter schema public rename to {_ASIDE}")
        await connection.execute("create schema public")


def _read_name(path: Path) -> UpgradeBackup | None:
    parts = _NAME.fullmatch(path.name)
    if parts is None:
        return None
    at = datetime.strptime(parts["at"], _TIME).replace(tzinfo=UTC)
    return UpgradeBackup(path=path, schema=parts["schema"], at=at, size=Bytes(path.stat().st_size))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
