"""A file of the store, copied to where another program looks for it: whole, verified, or not at all.

The copy grows under a name that no program loads, is compared with the checksum that the store has for it, synced, and
renamed. A file that is there already is kept: the same one counts as placed, another one is a conflict.

The folder can be a share that does not answer: whatever touches it blocks in a thread, never in the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from uuid import uuid4

from corral.errors import did_you_mean
from corral.files import sync_folder
from corral.units import Bytes, format_bytes
from corral.weights.errors import ModelDamagedError, PlacingError
from corral.weights.files import explain_disk_errors, make_disk_full_error, measure
from corral.weights.values import Model, ModelFile, is_plain_name

_CHUNK = 8 << 20
_DEEPEST = 8
"""Folders in a name; those who sort by maker and base need two or three."""
_PART, _PART_LIVES_S = ".corral-", 86_400.0
"""Begins the name of a copy under way; one of yesterday was left by a server that was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFile:
    """A file in the folder of another program."""

    path: Path
    size: Bytes
    sha256: str
    written: bool
    """False when the same file was there already."""


def check_target(folder: Path, name: str) -> Path:
    """Return the path of a file by its name below a models folder: `loras/paint.safetensors`.

    The kind of model, the first part, must be a folder already: a program looks only into those it knows. Blocks.
    Raises: PlacingError.
    """
    parts = PurePosixPath(name).parts
    if not 2 <= len(parts) <= _DEEPEST or not all(is_plain_name(part) for part in parts):
        what = f"not a file below a models folder: {name!r}"
        raise PlacingError(what, where="name", hint="write the kind of model and the file: loras/paint.safetensors")
    try:
        kinds = [entry.name for entry in folder.iterdir() if entry.is_dir()]
        if parts[0] not in kinds:
            what = f"the models folder has no folder {parts[0]!r}"
            raise PlacingError(what, where=str(folder), hint=did_you_mean(parts[0], kinds))
        target = folder.joinpath(*parts)
        if not target.parent.resolve().is_relative_to((folder / parts[0]).resolve()):
            raise PlacingError(f"a link leads out of the models folder: {name!r}", where=str(folder))
    except OSError as error:
        what = f"the models folder cannot be read: {error.strerror}"
        hint = "check `modelsFolder` in the cluster file: a folder that this server can write"
        raise PlacingError(what, where=str(folder), hint=hint) from error
    return target


async def place_file(model: Model, target: Path, on_bytes: Callable[[int, int], None]) -> PlacedFile:
    """Copy the file of a stored model to `target`; `on_bytes` gets the bytes done and in all.

    Raises: PlacingError, ModelDamagedError, DiskFullError, StoreUnwritableError.
    """
    file = _choose_file(model)
    assert file.size is not None, "a stored file has a size"
    if await asyncio.to_thread(target.exists):
        return await _keep(target, file)
    with explain_disk_errors(target.parent):
        await asyncio.to_thread(_prepare, target.parent, file.size)
        part = target.parent / f"{_PART}{uuid4().hex}.part"
        try:
            await _copy(model.folder / file.name, part, file, on_bytes)
            await asyncio.to_thread(_publish, part, target)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
    return PlacedFile(path=target, size=file.size, sha256=file.sha256 or "", written=True)


def _choose_file(model: Model) -> ModelFile:
    if len(model.files) != 1:
        what = f"the model {model.name!r} has {len(model.files)} files, and one is placed at a time"
        raise PlacingError(what, hint="pull the one that is needed: hf:owner/repo/file")
    return model.files[0]


async def _keep(target: Path, file: ModelFile) -> PlacedFile:
    try:
        there = await asyncio.to_thread(measure, target, file.name)
    except OSError as error:
        raise PlacingError(f"the file cannot be read: {error.strerror}", where=str(target)) from error
    if there.sha256 != file.sha256 or there.size is None:
        what = f"another file has this name: SHA-256 {there.sha256} instead of {file.sha256}"
        raise PlacingError(what, where=str(target), hint="place it under another name, or move that file away")
    return PlacedFile(path=target, size=there.size, sha256=there.sha256 or "", written=False)


def _prepare(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in folder.glob(f"{_PART}*.part"):
        if time.time() - part.stat().st_mtime > _PART_LIVES_S:
            part.unlink(missing_ok=True)
    free = os.statvfs(folder)
    if free.f_bavail * free.f_frsize < size:
        raise make_disk_full_error(folder, size)


async def _copy(source: Path, part: Path, file: ModelFile, on_bytes: Callable[[int, int], None]) -> None:
    digest, done = hashlib.sha256(), 0
    async with _open(source, "rb") as reading, _open(part, "xb") as writing:
        while chunk := await asyncio.to_thread(reading.read, _CHUNK):
            await asyncio.to_thread(writing.write, chunk)
            await asyncio.to_thread(digest.update, chunk)
            done += len(chunk)
            on_bytes(done, file.size or done)
        await asyncio.to_thread(os.fsync, writing.fileno())
    if digest.hexdigest() != file.sha256:
        what = f"{file.name} has {format_bytes(done)} with SHA-256 {digest.hexdigest()} instead of {file.sha256}"
        raise ModelDamagedError(what, where=str(source), hint="remove the model and pull it again")


@asynccontextmanager
async def _open(path: Path, mode: str) -> AsyncGenerator[IO[bytes]]:
    file = await asyncio.to_thread(path.open, mode)
    try:
        yield file
    finally:
        await asyncio.to_thread(file.close)


def _publish(part: Path, target: Path) -> None:
    part.chmod(0o644)
    part.rename(target)
    sync_folder(target.parent)
