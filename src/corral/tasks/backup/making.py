"""Takes a backup of a running server: everything as it was at one instant, while tasks go on.

One read-only transaction fixes the instant; `pg_dump` reads through its snapshot. The files that the snapshot names are
linked into a folder of their own, so that collecting what is old takes none of them away before they are sent. A file
that is not there is counted: what is whole can be saved all the same.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from corral import __version__
from corral.errors import CorralError, Kind
from corral.tasks.artifacts import ArtifactMissingError, ArtifactStore, translate_disk_error
from corral.tasks.backup import archive
from corral.tasks.backup.archive import Manifest, Member
from corral.tasks.backup.dumps import dump_database
from corral.tasks.store.pool import Connection, connect
from corral.tasks.values import Sha256
from corral.units import Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A server that is being saved."""

    name: str
    """The cluster's name."""
    url: str
    """The database's."""
    artifacts: ArtifactStore
    cluster_file: Path
    folder: Path
    """Where files of the backup are prepared; on the file system of the artifacts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A backup that is ready to be written."""

    manifest: Manifest
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The contents of the database at the instant of the backup."""

    schema: str
    at: datetime
    tasks: int
    open_tasks: int
    files: Mapping[Sha256, int | None]
    """The files that are named, each once, with their sizes; None of an input whose upload was collected."""


class ClusterFileGoneError(CorralError):
    """The cluster file that the server follows cannot be read any more."""

    code: ClassVar[str] = "backup.cluster_file_gone"
    kind: ClassVar[Kind] = Kind.CONFLICT


@asynccontextmanager
async def prepare_backup(source: Source) -> AsyncGenerator[Prepared, None]:
    """Give a backup of this instant; its files are kept while the context lasts.

    Raises: ClusterFileGoneError, DatabaseUnavailableError, DiskFullError, DumpError.
    """
    folder = source.folder / f"backup-{uuid4().hex}"
    try:
        yield await _make_files(source, folder)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _copy_cluster_file(path: Path, copy: Path) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        what = f"the cluster file cannot be read: {error.strerror or error}"
        raise ClusterFileGoneError(what, where=str(path), hint="put it back, then save again") from error
    copy.write_bytes(content)


async def _make_files(source: Source, folder: Path) -> Prepared:
    try:
        folder.mkdir(parents=True, mode=0o700)
        return await _prepare(source, folder)
    except OSError as error:
        raise translate_disk_error(error, folder) from error


async def _prepare(source: Source, folder: Path) -> Prepared:
    dump, cluster = folder / archive.DUMP, folder / archive.CLUSTER_FILE
    connection = await connect(source.url)
    try:
        await connection.execute("begin isolation level repeatable read read only")
        # It waits in this transaction while files are linked, and for the dump: longer than others are allowed to.
        await connection.execute("set local idle_in_transaction_session_timeout = 0")
        snapshot: str = await connection.fetchval("select pg_export_snapshot()")
        seen = await _look(connection)
        files = await asyncio.to_thread(_link_files, source.artifacts, seen.files, folder)
        await dump_database(source.url, dump, snapshot=snapshot)
    finally:
        connection.terminate()
    await asyncio.to_thread(_copy_cluster_file, source.cluster_file, cluster)
    manifest = Manifest(
        format=archive.FORMAT,
        corral=__version__,
        schema=seen.schema,
        name=source.name,
        at=seen.at.astimezone(UTC).isoformat(),
        tasks=seen.tasks,
        open_tasks=seen.open_tasks,
        artifacts=len(files),
        artifact_bytes=sum(member.size for member in files),
        missing=len(seen.files) - len(files),
        database_bytes=dump.stat().st_size,
        database_sha256=await asyncio.to_thread(archive.hash_file, dump),
        cluster_bytes=cluster.stat().st_size,
        cluster_sha256=await asyncio.to_thread(archive.hash_file, cluster),
    )
    return Prepared(manifest=manifest, members=(_make_member(cluster), _make_member(dump), *files))


async def _look(connection: Connection) -> _Seen:
    counts = await connection.fetchrow(
        """
        select now() as at, (select version_num from alembic_version) as schema, count(*) as tasks,
          count(*) filter (where finished_at is null) as open_tasks from tasks
        """
    )
    assert counts is not None, "an aggregate has one row"
    files = await connection.fetch(
        """
        select sha256, max(size) as size from (
          select sha256, size from outputs union all select sha256, size from uploads
          union all select sha256, size from voices union all select sha256, null from task_uploads
          union all select sha256, size from client_files union all select sha256, size from character_images
          union all select refused_lines, null from client_batches where refused_lines is not null
        ) named group by sha256
        """
    )
    return _Seen(**counts, files={Sha256(row["sha256"].hex()): row["size"] for row in files})


def _link_files(store: ArtifactStore, files: Mapping[Sha256, int | None], folder: Path) -> list[Member]:
    members: list[Member] = []
    for digest, size in sorted(files.items()):
        path = folder / digest
        with suppress(ArtifactMissingError, FileNotFoundError):
            os.link(store.locate(digest), path)
            present = path.stat().st_size
            if size in (None, present):
                members.append(Member(name=f"{archive.ARTIFACTS}/{digest}", path=path, size=Bytes(present)))
    return members


def _make_member(path: Path) -> Member:
    return Member(name=path.name, path=path, size=Bytes(path.stat().st_size))
