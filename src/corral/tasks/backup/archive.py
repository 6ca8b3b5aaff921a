"""The format of a backup: a tar file, which any system can open, with its contents listed in the first member.

`backup.json` (the manifest), `cluster.yaml`, `database.dump` (PostgreSQL's custom format) and `artifacts/<SHA-256>` for
each file that the database names. All sizes are known before the first byte, so a reader knows when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, ClassVar

from corral.errors import CorralError, Kind
from corral.units import Bytes

FORMAT = 1
MANIFEST = "backup.json"
CLUSTER_FILE = "cluster.yaml"
DUMP = "database.dump"
ARTIFACTS = "artifacts"
_CHUNK = 1024 * 1024
_MOST_MANIFEST = 1024 * 1024


class BackupDamagedError(CorralError):
    """The file is not a whole backup."""

    code: ClassVar[str] = "backup.damaged"
    kind: ClassVar[Kind] = Kind.INVALID


class BackupNewerError(CorralError):
    """The backup was made by a newer Corral."""

    code: ClassVar[str] = "backup.newer"
    kind: ClassVar[Kind] = Kind.CONFLICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The contents of a backup."""

    format: int
    corral: str
    """The version that made it."""
    schema: str
    """The database's schema, as the migrations number it."""
    name: str
    """The cluster's name."""
    at: str
    """The instant of its contents, ISO 8601."""
    tasks: int
    open_tasks: int
    """Of these, tasks that had not ended; those that ran are queued again by a restore."""
    artifacts: int
    artifact_bytes: int
    missing: int
    """Files that the database names and that were not there, or not whole."""
    database_bytes: int
    """Of the dump."""
    database_sha256: str
    cluster_bytes: int
    cluster_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file of an archive that is about to be written."""

    name: str
    path: Path
    size: Bytes


def count_bytes(manifest: Manifest, members: Sequence[Member]) -> Bytes:
    """Return the size of the archive of these members."""
    sizes = [len(_write_manifest(manifest)), *(member.size for member in members)]
    return Bytes(sum(tarfile.BLOCKSIZE + _fill(size) for size in sizes) + 2 * tarfile.BLOCKSIZE)


def write_archive(manifest: Manifest, members: Sequence[Member]) -> Iterator[bytes]:
    """Yield the archive piece by piece. Raises: BackupDamagedError when a file changed its size meanwhile; OSError."""
    text = _write_manifest(manifest)
    yield _make_header(MANIFEST, len(text), manifest.at) + text + bytes(_fill(len(text)) - len(text))
    for member in members:
        yield _make_header(member.name, member.size, manifest.at)
        written = 0
        with member.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                written += len(chunk)
                yield chunk
        if written != member.size:
            raise BackupDamagedError(f"{member.name} has {written} bytes now, and had {member.size}")
        yield bytes(_fill(member.size) - member.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file. Raises: OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path) -> Manifest:
    """Read what a backup contains. Raises: BackupDamagedError, BackupNewerError."""
    with _open(path) as archive:
        return _read_manifest(archive, path)


def unpack(path: Path, folder: Path | None) -> Manifest:
    """Check a whole backup, and lay its files out in a folder if there is one; a file is checked as it is written.

    Artifacts are in `artifacts/` below it, as an artifact store has them. Raises: BackupDamagedError, BackupNewerError,
    OSError.
    """
    artifacts, total = 0, 0
    names: set[str] = set()
    seen: dict[str, str] = {}
    with _open(path) as archive:
        manifest = _read_manifest(archive, path)
        try:
            while (member := archive.next()) is not None:
                source = archive.extractfile(member) if member.isreg() else None
                if source is None:
                    raise BackupDamagedError(f"{member.name[:80]!r} is not a plain file", where=str(path), hint=_HINT)
                target = _choose_target(folder or Path(), member.name)
                if member.name in names:
                    raise BackupDamagedError(f"{member.name!r} is in it twice", where=str(path), hint=_HINT)
                names.add(member.name)
                digest = _copy(source, None if folder is None else target)
                if member.name.startswith(f"{ARTIFACTS}/"):
                    _compare(member.name, digest, member.name.rpartition("/")[2], path)
                    artifacts, total = artifacts + 1, total + member.size
                else:
                    seen[member.name] = digest
        except (tarfile.TarError, EOFError) as error:
            raise BackupDamagedError(f"the backup breaks off: {error}", where=str(path), hint=_HINT) from error
    _compare(DUMP, seen.get(DUMP), manifest.database_sha256, path)
    _compare(CLUSTER_FILE, seen.get(CLUSTER_FILE), manifest.cluster_sha256, path)
    if (artifacts, total) != (manifest.artifacts, manifest.artifact_bytes):
        what = (
            f"the backup has {artifacts} files of {total} bytes, not {manifest.artifacts} of {manifest.artifact_bytes}"
        )
        raise BackupDamagedError(what, where=str(path), hint=_HINT)
    return manifest


_HINT = "use another backup; `corral backup` writes a file under its name only when it is whole"


def _open(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except (tarfile.TarError, EOFError) as error:
        raise BackupDamagedError(f"not a backup: {error}", where=str(path), hint=_HINT) from error


def _read_manifest(archive: tarfile.TarFile, path: Path) -> Manifest:
    try:
        member = archive.next()
        named = member is not None and member.name == MANIFEST and member.isreg()
        source = archive.extractfile(member) if member is not None and named else None
        if source is None:
            raise BackupDamagedError(f"the first file in it is not {MANIFEST}", where=str(path), hint=_HINT)
        fields = json.loads(source.read(_MOST_MANIFEST))
        if fields["format"] > FORMAT:
            what = f"the backup has format {fields['format']}; this program reads formats up to {FORMAT}"
            raise BackupNewerError(what, where=str(path), hint=f"use Corral {fields.get('corral')} or newer")
        return Manifest(**fields)
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as error:
        raise BackupDamagedError(f"its {MANIFEST} cannot be read: {error}", where=str(path), hint=_HINT) from error


def _choose_target(folder: Path, name: str) -> Path:
    if name in (DUMP, CLUSTER_FILE):
        return folder / name
    kind, _, digest = name.partition("/")
    if kind != ARTIFACTS or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise BackupDamagedError(f"a backup has no file {name[:80]!r}", hint=_HINT)
    return folder / ARTIFACTS / digest[:2] / digest


def _copy(source: IO[bytes], target: Path | None) -> str:
    """Read a file to its end, write it to `target` if there is one, and return its SHA-256."""
    digest = hashlib.sha256()
    if target is None:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _compare(name: str, seen: str | None, wanted: str, path: Path) -> None:
    if seen != wanted:
        what = f"{name} is not there" if seen is None else f"{name} has SHA-256 {seen} instead of {wanted}"
        raise BackupDamagedError(what, where=str(path), hint=_HINT)


def _write_manifest(manifest: Manifest) -> bytes:
    return json.dumps(asdict(manifest), indent=2).encode()


def _make_header(name: str, size: int, at: str) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o600
    info.mtime = int(datetime.fromisoformat(at).timestamp())
    return info.tobuf(tarfile.GNU_FORMAT)


def _fill(size: int) -> int:
    """Return the size up to the end of its last block."""
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
