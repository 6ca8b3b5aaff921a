"""Files that are whole or absent: hash, sync, then rename.

A name without `.part` is only ever given to bytes that were verified and are on the disk; so whatever is killed,
nothing that looks whole is not. The manifest next to a stored model's files describes it; a folder without one holds no
model. One process at a time writes a model, by `flock`: the kernel drops that lock when its holder dies, however it
dies, where a lock file that is merely present means nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import AsyncGenerator, Callable, Generator
from datetime import datetime
from pathlib import Path
from typing import Any

from corral.files import sync_folder, write_whole
from corral.units import Bytes, format_bytes
from corral.weights.errors import ChecksumError, DiskFullError, ModelDamagedError, StoreUnwritableError
from corral.weights.values import MANIFEST, Entry, Model, ModelFile

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_ACCESS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})


def name_part(final: Path) -> Path:
    """Name the file that grows until it can become `final`."""
    return final.with_name(final.name + ".part")


async def settle(part: Path, final: Path, promised: ModelFile, source: str) -> ModelFile:
    """Verify `part` against what was promised and give it its final name; return its measured size and SHA-256.

    Raises: ChecksumError when it is something else; `part` is deleted then.
    """
    measured = await asyncio.to_thread(measure, part, promised.name)
    if (wrong := describe_difference(promised, measured)) is not None:
        part.unlink()
        raise ChecksumError(
            wrong, where=source, hint="pull again; when it repeats, the source has changed: do not use it"
        )
    await asyncio.to_thread(_publish, part, final)
    return measured


def describe_difference(promised: ModelFile, measured: ModelFile) -> str | None:
    """Say how a file is not what was promised; None when it is, as far as anything was promised."""
    if promised.size is not None and promised.size != measured.size:
        return f"{promised.name} has {measured.size} bytes instead of {promised.size}"
    if promised.sha256 is not None and promised.sha256 != measured.sha256:
        return f"{promised.name} has SHA-256 {measured.sha256} instead of {promised.sha256}"
    return None


def measure(path: Path, name: str) -> ModelFile:
    """Read the whole file; its size and SHA-256. Blocks: about 0.7 s per GB from the page cache (measured)."""
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        return ModelFile(name=name, size=Bytes(os.fstat(handle.fileno()).st_size), sha256=digest)


def _publish(part: Path, final: Path) -> None:
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(final)
    sync_folder(final.parent)


def delete_folder(folder: Path) -> None:
    """Delete a folder and all in it, or do nothing when there is none."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


@contextlib.contextmanager
def explain_disk_errors(folder: Path) -> Generator[None]:
    """Turn the system's `no space left` and `permission denied` into errors with the place and the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise make_disk_full_error(folder) from error
        if error.errno in _NO_ACCESS:
            fact = f"the model store cannot be written to: {error.strerror}"
            hint = "give this user the folder, or name another data directory"
            raise StoreUnwritableError(fact, where=str(error.filename or folder), hint=hint) from error
        raise


def make_disk_full_error(folder: Path, needed: int | None = None) -> DiskFullError:
    """Say how much is free on the disk of `folder`, and how much is needed where that is known."""
    free = format_bytes(shutil.disk_usage(folder).free)
    need = f", {format_bytes(needed)} needed" if needed is not None else ""
    return DiskFullError(
        f"the disk of the model store is full ({free} free{need})",
        where=str(folder),
        hint="free space with `corral models rm NAME`, or move the data directory to a larger disk",
    )


_LOOK_AGAIN_S = 0.1
"""flock cannot wake an event loop, and a thread blocked in it could not be cancelled."""


@contextlib.asynccontextmanager
async def hold_lock(path: Path, *, on_wait: Callable[[], None]) -> AsyncGenerator[None]:
    """Hold the lock at `path`; `on_wait` is called once when another holds it already.

    Raises: DiskFullError, StoreUnwritableError.
    """
    with explain_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _try_lock(descriptor):
            on_wait()
            while not _try_lock(descriptor):  # noqa: ASYNC110 - the holder is another process
                await asyncio.sleep(_LOOK_AGAIN_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_VERSION = 1


def write_manifest(
    folder: Path, entry: Entry, files: tuple[ModelFile, ...], *, source: str, pulled_at: datetime
) -> None:
    """Describe the model whose files are in `folder`; on the disk when this returns."""
    content = {
        "version": _VERSION,
        "name": entry.name,
        "opens": entry.opens,
        "licence": entry.licence,
        "engines": list(entry.engines),
        "source": source,
        "pulledAt": pulled_at.isoformat(),
        "files": [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in files],
    }
    write_whole(folder / MANIFEST, json.dumps(content, indent=2) + "\n")


def read_manifest(folder: Path) -> Model | None:
    """Read what a folder of the store holds; None when it holds no model.

    Raises: ModelDamagedError when the manifest cannot be read.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _parse_model(folder, json.loads(content))
    except (ValueError, KeyError, TypeError) as error:
        raise ModelDamagedError(
            f"the manifest of a stored model cannot be read: {error}",
            where=str(folder / MANIFEST),
            hint=f"run `corral models rm {folder.name}` and pull it again",
        ) from error


def _parse_model(
    folder: Path, content: dict[str, Any]
) -> Model:  # Any: JSON of our own making, checked by what it must hold
    if content["version"] != _VERSION:
        raise ValueError(f"version {content['version']!r} instead of {_VERSION}")
    files = tuple(
        ModelFile(name=str(file["name"]), size=Bytes(int(file["size"])), sha256=str(file["sha256"]))
        for file in content["files"]
    )
    opens = content["opens"]
    return Model(
        name=str(content["name"]),
        folder=folder,
        path=folder / str(opens) if opens else folder,
        files=files,
        size=Bytes(sum(file.size or 0 for file in files)),
        licence=content["licence"],
        engines=tuple(content["engines"]),
        source=str(content["source"]),
        pulled_at=datetime.fromisoformat(content["pulledAt"]),
    )
