"""Restores a backup into an empty data directory, with the database that a server of it would have.

`restoring/` is in the directory for as long as it takes; a server refuses to start on it. When anything fails, the
directory is empty again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from corral.data_dir import RESTORING_FOLDER, prepare_data_dir
from corral.errors import CorralError, Kind
from corral.files import sync_folder
from corral.server import presence
from corral.server.database import open_database
from corral.server.settings import CLUSTER_FILE, ServerSettings, read_cluster
from corral.tasks.alarms import Alarms
from corral.tasks.backup.archive import ARTIFACTS, Manifest, unpack
from corral.tasks.backup.restoring import check_backup, restore_database, unpack_files


class DataDirInUseError(CorralError):
    """The data directory to restore into is not empty."""

    code: ClassVar[str] = "backup.data_dir_in_use"
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

    Raises: AlreadyRunningError, BackupDamagedError, BackupNewerError, DatabaseInUseError, DatabaseNewerError,
    DataDirInUseError, DumpError, EmbeddedDatabaseError, OSError, SettingsError.
    """
    manifest = check_backup(backup)
    data_dir = settings.data_dir
    os.umask(0o077)  # as the server has it
    _refuse_files(data_dir)
    prepare_data_dir(data_dir)
    with presence.hold_data_dir(data_dir):
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
    async with open_database(settings, read_cluster(settings), Alarms()) as url:
        await restore_database(url, folder)
    sync_folder(settings.data_dir)
    await asyncio.to_thread(shutil.rmtree, folder)


def _refuse_files(data_dir: Path) -> None:
    with suppress(FileNotFoundError):
        names = sorted(path.name for path in data_dir.iterdir())
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
