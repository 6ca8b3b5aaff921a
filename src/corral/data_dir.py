"""The data directory: where it is, what other programs find in it, and whether a server runs on it.

A running server holds `server.lock`, which the kernel frees whatever kills the server, and writes `server.json`
with its address and a token; a user who can read that file can use the server. Servers and
their clients both use this module, so that neither needs the other.

Belongs here: where the folder is, names in it that several rooms use, finding the server that runs on it.
Does not belong here: names and files of one room.
May import: `corral.errors`.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.errors import CorralError, Kind

LOCK_FILE = "server.lock"
PRESENCE_FILE = "server.json"
SERVER_LOG = "server.log"
MODELS_FOLDER = "models"
ENGINES_FOLDER = "engines"
"""Has the environments of engines that have one of their own."""
KEPT_FOLDER = "kept"
"""Has what engines keep between attempts of a task, such as checkpoints of training, by engine."""
RESTORING_FOLDER = "restoring"
"""Is in a data directory as long as a backup is being restored into it."""
BACKUPS_FOLDER = "backups"
"""Has the database as it was before each of the last upgrades."""
DATA_DIR_VARIABLE = "CORRAL_DATA_DIR"
LONGEST_DATA_DIR = 80
"""In bytes. PostgreSQL's socket is below it, and a socket's path has at most 107 bytes on Linux, 103 on macOS. With a
longer path the embedded server would put its socket where other users can reach it."""


class SettingsError(CorralError):
    """The server cannot be started like this."""

    code: ClassVar[str] = "server.settings"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """A server that runs, as local commands see it."""

    pid: int
    url: str
    token: str
    started_at: str


def default_data_dir() -> Path:
    """Return `$CORRAL_DATA_DIR`, else the user's data folder; for root, `/var/lib/corral`.

    The embedded PostgreSQL runs as a user of its own when root starts it, who cannot enter root's home.
    """
    if chosen := os.environ.get(DATA_DIR_VARIABLE):
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/corral")
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "corral"


def choose_data_dir(given: Path | None) -> Path:
    """Return the data directory that was given, else the user's own."""
    return default_data_dir() if given is None else given.expanduser().absolute()


def prepare_data_dir(data_dir: Path) -> None:
    """Create the data directory, readable by its owner only. Raises: SettingsError.

    Root's can be entered by its group, with which the embedded PostgreSQL runs as another user. A folder that is
    something else, or has another owner, keeps its mode.
    """
    if len(os.fsencode(data_dir)) > LONGEST_DATA_DIR:
        raise SettingsError(
            f"the path of the data directory has {len(os.fsencode(data_dir))} bytes, more than {LONGEST_DATA_DIR}",
            where=str(data_dir),
            hint=f"choose a shorter one with --data-dir or ${DATA_DIR_VARIABLE}",
        )
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.geteuid() == data_dir.stat().st_uid == 0 and _is_a_data_dir(data_dir):
            os.chown(data_dir, -1, os.getegid())
            data_dir.chmod(data_dir.stat().st_mode & 0o7777 | 0o010)
    except OSError as error:
        raise SettingsError(
            f"cannot create the data directory: {error.strerror}",
            where=str(data_dir),
            hint="choose one with --data-dir",
        ) from error
    if (data_dir / RESTORING_FOLDER).exists():
        raise SettingsError(
            "a restore into this data directory did not end",
            where=str(data_dir),
            hint="remove the directory, and restore the backup again",
        )


def _is_a_data_dir(folder: Path) -> bool:
    """Whether a folder is empty, or was used by a server before."""
    return (folder / LOCK_FILE).exists() or not any(folder.iterdir())


def models_dir(data_dir: Path) -> Path:
    """Return the folder of the model store."""
    return data_dir / MODELS_FOLDER


def find_server(data_dir: Path) -> Presence | None:
    """Return the server that runs on this data directory; None when none does, whatever an old file says."""
    try:
        with (data_dir / LOCK_FILE).open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return Presence(**json.loads((data_dir / PRESENCE_FILE).read_text()))
            return None
    except (OSError, ValueError, TypeError):
        return None
