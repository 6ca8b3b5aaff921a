"""`corral down`."""

from __future__ import annotations

import typer

from corral.cli import terminal
from corral.cli.options import ClusterFile, DataDir, make_example


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("down", epilog=make_example("corral down"))(down)


def down(cluster: ClusterFile = None, data_dir: DataDir = None) -> None:
    """Stop the server of this machine, and all that it started.

    Running tasks have a few seconds to end, then they go back to the queue. Ctrl-C of `corral up` does the same.
    """
    from corral.cli.launching import choose_server_data_dir, stop_local_server

    folder = choose_server_data_dir(data_dir, cluster)
    stopped = stop_local_server(folder)
    if stopped is None:
        terminal.note(f"no server runs on {folder}")
    else:
        terminal.put(f"stopped  {stopped.url} (process {stopped.pid}), and all that it started")
