"""One server per data directory, and how local commands find it.

`server.lock` is held for as long as the server lives; the kernel frees it whatever kills the server. `server.json` says
where it listens, and carries a token that only the owner of the directory can read.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
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
MACHINE_ID = Path("/etc/machine-id")
"""See machine-id(5): 32 hexadecimal digits; empty or `uninitialized` where none was set, as in many images."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""See random(4): drawn anew at each start of the machine."""
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
    A copy of the directory gets a name of its own, since both can run: the file keeps which folder it was made in.
    """
    path, folder = data_dir / HOLDER_FILE, identify(data_dir)
    try:
        name, _, made_in = path.read_text().strip().partition("\n")
        holder = UUID(name)
    except (OSError, ValueError):
        holder, made_in = uuid4(), ""
    if made_in == folder:
        return holder
    if made_in:
        holder = uuid4()
    write_whole(path, f"{holder}\n{folder}\n")
    return holder


def identify(data_dir: Path, machine_id: Path = MACHINE_ID, boot_id: Path = BOOT_ID) -> str:
    """Name a folder so that no copy of its files, here or on another machine, has the name; renames change nothing.

    The machine, the file system and the inode: each alone can be the same elsewhere (the root of a mount has the same
    inode everywhere). A machine without a name of its own is named by its present start, so the folder's name changes
    when it starts anew. That is the safe side: a new holder waits until the leases of the old one run out, whereas a
    holder that two servers have takes back what the other one runs.

    A clone of a whole disk, block by block, with the machine's name on it, has the name of the original: delete
    `holder` in it before a server starts on it.
    """
    machine = _read_line(machine_id)
    if not re.fullmatch("[0-9a-f]{32}", machine):
        machine = f"started-{_read_line(boot_id) or uuid4()}"
    return f"{machine} {os.statvfs(data_dir).f_fsid:x} {data_dir.stat().st_ino}"


def _read_line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
