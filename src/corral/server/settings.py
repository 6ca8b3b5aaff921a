"""Settings of a server: the folder of its data, its address, the cluster file that it follows."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from corral.cluster import Cluster, load
from corral.data_dir import SettingsError
from corral.files import write_whole
from corral.operations.cluster_file import ClusterText
from corral.server.tls import TlsFiles

DEFAULT_PORT = 7433
CLUSTER_FILE = "cluster.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How `corral up` was called."""

    data_dir: Path
    cluster_file: Path | None = None
    """None uses `cluster.yaml` in the data directory, which is written on the first start."""
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    """0 lets the system choose."""
    require_token: bool = False
    """Whether a token is asked for on loopback, too."""
    tls: TlsFiles | None = None
    """Encrypts the main port and a frontend's; None leaves them plain."""
    database_url: str | None = None
    """A PostgreSQL URL; None takes that of the cluster file, and else the embedded server."""

    @property
    def cluster_path(self) -> Path:
        """The cluster file that the server follows."""
        return self.cluster_file or self.data_dir / CLUSTER_FILE

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def trusts_loopback(self) -> bool:
        """Whether requests without a token are those of the local administrator."""
        return self.loopback and not self.require_token


def read_cluster(settings: ServerSettings) -> Cluster:
    """Read the cluster file; without one, write one that describes this machine, and read that.

    Raises: ClusterFileError, SettingsError.
    """
    return read_cluster_text(settings).cluster


def read_cluster_text(settings: ServerSettings) -> ClusterText:
    """Read the cluster file with its text, as `read_cluster` does."""
    from corral.hardware.catalogue import find_gpu

    path = settings.cluster_path
    try:
        if settings.cluster_file is None and not path.exists():
            _write_default(path)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"cannot read the cluster file: {error}", where=str(path), hint="name a file with --cluster"
        ) from error
    return ClusterText(name=str(path), text=text, cluster=load(text, filename=str(path), find_gpu=find_gpu))


def _write_default(path: Path) -> None:
    import socket

    from corral.cluster.writing import write_default_file

    name = socket.gethostname().split(".")[0]
    write_whole(path, write_default_file(name, name))
