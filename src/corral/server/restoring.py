"""Restores a backup into an empty data directory, with the database that a server of it would have.

`restoring/` is in the directory for as long as it takes; a server refuses to start on it. When anything fails, the
directory is empty again. A database of your own is filled in one transaction, towards the end; what fails after that
leaves it filled, and the error says so.

A rollback is the other way round: the directory stays, and its database becomes what it was before an upgrade.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import ClassVar

from corral.data_dir import BACKUPS_FOLDER, LOCK_FILE, RESTORING_FOLDER, prepare_data_dir
from corral.errors import CorralError, Kind
from corral.files import sync_folder
from corral.server import presence
from corral.server.database import open_database
from corral.server.settings import CLUSTER_FILE, ServerSettings, read_cluster
from corral.tasks.alarms import Alarms
from corral.tasks.backup.archive import ARTIFACTS, Manifest, unpack
from corral.tasks.backup.restoring import check_backup, end_leases, fill_empty_database, unpack_files
from corral.tasks.backup.upgrades import UpgradeBackup, find_upgrade_backup, roll_back


class DataDirInUseError(CorralError):
    """The data directory to restore into is not empty."""

    code: ClassVar[str] = "backup.data_dir_in_use"
    kind: ClassVar[Kind] = Kind.CONFLICT


class DatabaseFilledError(CorralError):
    """A restore failed when it had filled a database outside the data directory."""

    code: ClassVar[str] = "backup.database_filled"
    kind: ClassVar[Kind] = Kind.CONFLICT


def check_restore(backup: Path, settings: ServerSettings) -> Manifest:
    """Check a whole backup, and that it can be restored into this directory; write nothing, and ask no database.

    Raises: BackupDamagedError, BackupNewerError, DatabaseNewerError, DataDirInUseError, OSError.
    """
    check_backup(backup)
    _refuse_files(settings.data_dir)
    return unpack(backup, None)


async def restore_backup(backup: Path, settings: ServerSettings) -> Manifest:
    """Restore a backup, whole or not at all, and return what it contains.

    Raises: AlreadyRunningError, BackupDamagedError, BackupNewerError, DatabaseFilledError, DatabaseInUseError,
    DatabaseNewerError, DatabaseUnavailableError, DataDirInUseError, DumpError, EmbeddedDatabaseError, OSError,
    SettingsError.
    """
    manifest = check_backup(backup)
    data_dir = settings.data_dir
    os.umask(0o077)  # as the server has it
    _refuse_files(data_dir)
    prepare_data_dir(data_dir)
    with presence.hold_data_dir(data_dir):
        _refuse_files(data_dir)  # again: another restore can have ended since
        try:
            await _restore(backup, settings, data_dir / RESTORING_FOLDER)
        except BaseException:
            await asyncio.to_thread(_empty, data_dir)
            raise
    return manifest


async def _restore(backup: Path, settings: ServerSettings, folder: Path) -> None:
    folder.mkdir()
    await unpack_files(backup, folder)
    (folder / ARTIFACTS).mkdir(exist_ok=True)
    for name in (ARTIFACTS, CLUSTER_FILE):
        (folder / name).rename(settings.data_dir / name)
    cluster = read_cluster(settings)
    outside = settings.database_url is not None or cluster.database_url_env is not None
    async with open_database(settings, cluster, Alarms()) as url:
        await fill_empty_database(url, folder)
        with _report_filled() if outside else nullcontext():
            await end_leases(url)
            sync_folder(settings.data_dir)
            await asyncio.to_thread(shutil.rmtree, folder)


@contextmanager
def _report_filled() -> Generator[None, None, None]:
    """Say that the database is filled when something fails, or is cancelled, from here on: nothing else would."""
    try:
        yield
    except BaseException as error:
        reason = error.what if isinstance(error, CorralError) else str(error) or type(error).__name__
        raise DatabaseFilledError(
            f"the restore broke off when it had filled the database: {reason}",
            hint="drop the database, create it anew, and restore again",
        ) from error


def find_rollback(settings: ServerSettings, file: Path | None) -> UpgradeBackup:
    """Return the backup that a rollback would use: the file, or the newest. Raises: UpgradeBackupMissingError."""
    return find_upgrade_backup(settings.data_dir / BACKUPS_FOLDER, file)


async def roll_back_database(backup: UpgradeBackup, settings: ServerSettings) -> None:
    """Put the database of a data directory back to before an upgrade; a version of that time can then use it.

    Raises: AlreadyRunningError, ClusterFileError, DatabaseConnectedError, DatabaseUnavailableError, DumpError,
    EmbeddedDatabaseError, RollbackDeniedError, SettingsError.
    """
    os.umask(0o077)  # as the server has it
    with presence.hold_data_dir(settings.data_dir):
        async with open_database(settings, read_cluster(settings), Alarms()) as url:
            await roll_back(url, backup)


def _refuse_files(data_dir: Path) -> None:
    with suppress(FileNotFoundError):
        names = sorted(path.name for path in data_dir.iterdir() if path.name != LOCK_FILE)
        if names:
            raise DataDirInUseError(
                f"the data directory is not empty: it has {', '.join(names[:5])}",
                where=str(data_dir),
                hint="choose another directory with --data-dir",
            )


def _empty(data_dir: Path) -> None:
    """Remove what was restored; the lock is the kernel's, and goes with its file."""
    for path in data_dir.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
