"""Where things of this user lie: the data directory, and what other programs find in it."""

from __future__ import annotations

from pathlib import Path

SERVER_LOG = "server.log"


def data_dir(given: Path | None, cluster_file: Path | None = None) -> Path:
    """Return the data directory: what is given, else what the cluster file says, else the user's own.

    Raises: ClusterFileError, SettingsError when the cluster file cannot be read.
    """
    from corral.server.settings import Settings, default_data_dir, read_cluster

    if given is not None:
        return given.expanduser().absolute()
    own = default_data_dir()
    if cluster_file is None:
        return own
    named = read_cluster(Settings(data_dir=own, cluster_file=cluster_file)).data_dir
    return own if named is None else (cluster_file.absolute().parent / Path(named).expanduser()).absolute()


def make_data_dir(data: Path) -> None:
    """Make the data directory, for its owner alone, before anything is written into it. Raises: SettingsError."""
    from corral.server.settings import prepare_data_dir

    prepare_data_dir(data)


def models_dir(data: Path) -> Path:
    """Return the folder of the model store."""
    return data / "models"
