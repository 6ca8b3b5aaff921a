"""The files of jobs elsewhere that have no folder in common with this server: fetched and delivered over HTTP.

Each attempt has a folder, and a token whose SHA-256 is in it: good for its files alone, until the folder is removed. It
outlives this process, since a job goes on while the server is away.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import ClassVar
from uuid import UUID, uuid4

from corral.errors import CorralError, Kind
from corral.tasks.artifacts import ArtifactStore, ArtifactTooLargeError, translate_disk_error
from corral.units import Bytes

JOB_FILES_FOLDER = "job-files"
"""Of the data directory."""
_TOKEN = "token.sha256"
_KEPT = timedelta(days=14)
"""How long files of an attempt stay whose end no server saw: longer than any training here."""
_LONGEST = 1000
"""Characters of a file's path."""


class JobTokenError(CorralError):
    """The token is not that of the attempt, or the attempt has ended."""

    code: ClassVar[str] = "job.token"
    kind: ClassVar[Kind] = Kind.DENIED


class JobFileNameError(CorralError):
    """A file's path leaves the folder of its attempt."""

    code: ClassVar[str] = "job.file_name"
    kind: ClassVar[Kind] = Kind.INVALID


class JobFileMissingError(CorralError):
    """The attempt has no such input."""

    code: ClassVar[str] = "job.file_missing"
    kind: ClassVar[Kind] = Kind.MISSING


class JobFiles:
    """The folders of all attempts (`corral.engines.cluster_seams.FileShelf`)."""

    def __init__(self, root: Path, artifacts: ArtifactStore) -> None:
        self._root = root
        self._artifacts = artifacts

    def open(self, attempt: UUID) -> str:
        """Make the folder of an attempt, and return its token."""
        self._sweep()
        folder, token = self.find(attempt), secrets.token_urlsafe(32)
        for name in ("inputs", "outputs"):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / _TOKEN).write_text(_hash(token))
        return token

    def _sweep(self) -> None:
        """Remove folders of attempts that nothing came back for."""
        for folder in self._root.glob("*-*-*-*-*"):
            if time.time() - folder.stat().st_mtime > _KEPT.total_seconds():
                shutil.rmtree(folder, ignore_errors=True)

    def find(self, attempt: UUID) -> Path:
        """Find the folder of an attempt, whether it exists or not."""
        return self._root / str(attempt)

    def close(self, attempt: UUID) -> None:
        """Remove the folder of an attempt; what cannot be removed stays."""
        shutil.rmtree(self.find(attempt), ignore_errors=True)

    def check(self, attempt: UUID, token: str | None) -> None:
        """Return when a token is that of an attempt. Raises: JobTokenError."""
        try:
            known = (self.find(attempt) / _TOKEN).read_text()
        except OSError:
            known = ""
        if not known or token is None or not hmac.compare_digest(known, _hash(token)):
            raise JobTokenError("the token is not that of this attempt, or the attempt has ended")

    def find_input(self, attempt: UUID, name: str) -> Path:
        """Find an input of an attempt. Raises: JobFileMissingError, JobFileNameError."""
        path = self.find(attempt) / "inputs" / _check_name(name)
        if not path.is_file():
            raise JobFileMissingError(f"the attempt has no input {name!r}")
        return path

    async def take_output(
        self, attempt: UUID, name: str, chunks: AsyncIterator[bytes], *, limit: Bytes, reserve: Bytes
    ) -> int:
        """Keep a file as it arrives, whole or not at all; returns its bytes.

        Raises: ArtifactTooLargeError, DiskFullError, JobFileNameError.
        """
        path = self.find(attempt) / "outputs" / _check_name(name)
        self._artifacts.refuse_below(reserve)
        arriving = self.find(attempt) / f"{uuid4()}.part"
        size = 0
        try:
            with arriving.open("xb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise ArtifactTooLargeError(f"{name!r} has more than {limit} bytes")
                    await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(_settle, file.fileno())
            path.parent.mkdir(parents=True, exist_ok=True)
            arriving.replace(path)
        except OSError as error:
            raise translate_disk_error(error, arriving) from error
        finally:
            arriving.unlink(missing_ok=True)
        return size


def _settle(descriptor: int) -> None:
    os.fsync(descriptor)


def _check_name(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name or len(name) > _LONGEST:
        raise JobFileNameError(f"{name[:_LONGEST]!r} is not a path below the folder of the attempt")
    return path


def _hash(token: str) -> str:
    return sha256(token.encode(errors="replace")).hexdigest()
