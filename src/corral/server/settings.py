"""What a server is started with: where its data lies, what it listens on, which cluster file it follows."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.cluster import Cluster, load
from corral.errors import CorralError, Kind

DEFAULT_PORT = 7433
DATA_DIR_VARIABLE = "CORRAL_DATA_DIR"
LONGEST_DATA_DIR = 80
"""In bytes. PostgreSQL's socket lies below it, and a socket's path has at most 107 bytes on Linux, 103 on macOS. With a
longer path the embedded server would put its socket where other users can reach it."""
CLUSTER_FILE = "cluster.yaml"


class SettingsError(CorralError):
    """The server cannot be started like this."""

    code: ClassVar[str] = "server.settings"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How `corral up` was called."""

    data_dir: Path
    cluster_file: Path | None = None
    """None uses `cluster.yaml` in the data directory, which is written on the first start."""
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    """0 lets the system choose."""
    database_url: str | None = None
    """A PostgreSQL URL; None takes what the cluster file says, and else the embedded server."""

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def default_data_dir() -> Path:
    """Return `$CORRAL_DATA_DIR`, else the user's data folder; for root, `/var/lib/corral`.

    The embedded PostgreSQL runs as a user of its own when root starts it, and makes the folders above its data readable
    to that user: root's home is no place for it.
    """
    if chosen := os.environ.get(DATA_DIR_VARIABLE):
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/corral")
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "corral"


def read_cluster(settings: Settings) -> Cluster:
    """Read the cluster file; without one, write one that describes this machine, and read that.

    Raises: ClusterFileError, SettingsError.
    """
    from corral.hardware.catalogue import find_gpu

    path = settings.cluster_file or settings.data_dir / CLUSTER_FILE
    try:
        if settings.cluster_file is None and not path.exists():
            _write_default(path)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"cannot read the cluster file: {error}", where=str(path), hint="name a file with --cluster"
        ) from error
    return load(text, filename=str(path), find_gpu=find_gpu)


def _write_default(path: Path) -> None:
    import socket

    from corral.cluster.write import default_file

    name = socket.gethostname().split(".")[0]
    temporary = path.with_suffix(".new")
    temporary.write_text(default_file(name, name), encoding="utf-8")
    temporary.replace(path)


def prepare_data_dir(data_dir: Path) -> None:
    """Create the data directory, readable by its owner only. Raises: SettingsError."""
    if len(os.fsencode(data_dir)) > LONGEST_DATA_DIR:
        raise SettingsError(
            f"the path of the data directory has {len(os.fsencode(data_dir))} bytes, more than {LONGEST_DATA_DIR}",
            where=str(data_dir),
            hint=f"choose a shorter one with --data-dir or ${DATA_DIR_VARIABLE}",
        )
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(
            f"cannot create the data directory: {error.strerror}",
            where=str(data_dir),
            hint="choose one with --data-dir",
        ) from error
