"""`corral rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, ClusterFile, DataDir, DryRun, Yes, make_example


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rollback", epilog=make_example("corral rollback --dry-run"))(rollback)


def rollback(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A file of `backups/`; default: the newest.")
    ] = None,
    cluster: ClusterFile = None,
    data_dir: DataDir = None,
    yes: Yes = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Put the database back to before an upgrade.

    The server must be stopped. What was submitted or done since is gone; then install the version before, and start it.
    CORRAL_DATABASE_URL names the database; without it, that of the cluster file or the embedded one is used.
    """
    import asyncio
    import os

    from corral.cli.launching import choose_server_data_dir
    from corral.server.restoring import find_rollback, roll_back_database
    from corral.server.settings import ServerSettings
    from corral.units import format_bytes
    from corral.wire import to_json

    settings = ServerSettings(
        data_dir=choose_server_data_dir(data_dir, cluster),
        cluster_file=cluster,
        database_url=os.environ.get("CORRAL_DATABASE_URL") or None,
    )
    backup = find_rollback(settings, file)
    facts = f"schema {backup.schema}, {backup.at:%Y-%m-%d %H:%M} UTC, {format_bytes(backup.size)}"
    if dry_run:
        terminal.note(f"would put the database back to {backup.path} ({facts})")
    else:
        terminal.confirm(f"put the database back to {backup.path} ({facts}), and lose what came since?", agreed=yes)
        asyncio.run(roll_back_database(backup, settings))
    if as_json:
        terminal.put_json(to_json(backup))
    elif not dry_run:
        terminal.put_text(f"the database is as of {backup.at:%Y-%m-%d %H:%M} UTC, with schema {backup.schema}")
        terminal.put_text("next: install the version before, and start it: this one would migrate the database again")
