"""One server per data directory, and how local commands find it.

`server.lock` is held for as long as the server lives; the kernel frees it whatever kills the server. `server.json` says
where it listens, and carries a token that only the owner of the directory can read.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, ClassVar
from uuid import UUID, uuid4

from corral.data_dir import LOCK_FILE, PRESENCE_FILE, Presence
from corral.errors import CorralError, Kind
from corral.files import write_whole

HOLDER_FILE = "holder"
_TRIES = 5
_BETWEEN_TRIES_S = 0.05


class AlreadyRunningError(CorralError):
    """Another server runs on this data directory."""

    code: ClassVar[str] = "server.already_running"
    kind: ClassVar[Kind] = Kind.CONFLICT


@contextmanager
def hold_data_dir(data_dir: Path) -> Generator[None, None, None]:
    """Hold the data directory while the context lasts. Raises: AlreadyRunningError."""
    with (data_dir / LOCK_FILE).open("a+") as file:
        try:
            _take(file)
        except OSError as error:
            raise AlreadyRunningError(
                "a server runs on this data directory already",
                where=str(data_dir),
                hint="use it, stop it, or choose another directory with --data-dir",
            ) from error
        (data_dir / PRESENCE_FILE).unlink(
            missing_ok=True
        )  # of one that was killed: its address can be another's by now
        try:
            yield
        finally:
            (data_dir / PRESENCE_FILE).unlink(missing_ok=True)


def _take(file: IO[str]) -> None:
    """Take the lock; a command that looks whether a server runs holds it for an instant, so one try is not enough."""
    for _ in range(_TRIES - 1):
        with suppress(OSError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(_BETWEEN_TRIES_S)
    return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def announce(data_dir: Path, presence: Presence) -> None:
    """Write where the server listens, for its owner's eyes only."""
    write_whole(data_dir / PRESENCE_FILE, json.dumps(asdict(presence)), mode=0o600)


def holder_of(data_dir: Path) -> UUID:
    """Return the name under which servers of this data directory hold leases; it outlives each of them.

    A lease under this name that the present server does not know belongs to one that is dead: only one runs at a time.
    """
    path = data_dir / HOLDER_FILE
    try:
        return UUID(path.read_text().strip())
    except (OSError, ValueError):
        made = uuid4()
        write_whole(path, f"{made}\n")
        return made
