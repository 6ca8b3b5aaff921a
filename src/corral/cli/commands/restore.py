"""`corral restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, DryRun, make_example


def register(app: typer.Typer) -> None:
    """Add the command."""
    command = "corral restore corral-backup.tar --data-dir restored"
    app.command("restore", epilog=make_example(command))(restore)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `corral backup` wrote.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Restore a backup into an empty data directory.

    It can be on another machine; `corral up` then goes on with it. Tasks that ran are queued again.
    CORRAL_DATABASE_URL names an empty database; without it, the embedded one is used.
    """
    import asyncio
    import os
    from dataclasses import asdict

    from corral.data_dir import choose_data_dir
    from corral.server.restoring import check_restore, restore_backup
    from corral.server.settings import ServerSettings

    folder = choose_data_dir(data_dir)
    settings = ServerSettings(data_dir=folder, database_url=os.environ.get("CORRAL_DATABASE_URL") or None)
    manifest = check_restore(file, settings) if dry_run else asyncio.run(restore_backup(file, settings))
    if as_json:
        terminal.put_json(asdict(manifest))
        return
    terminal.put_text(
        f"cluster {manifest.name} as of {manifest.at}: {terminal.format_count(manifest.tasks, 'task')} "
        f"({manifest.open_tasks} open), {terminal.format_count(manifest.artifacts, 'file')}, Corral {manifest.corral}"
    )
    if dry_run:
        terminal.note(f"the backup is whole and can be restored into {folder}; nothing was written there")
    else:
        terminal.put_text(
            f"next: corral up --data-dir {folder} (stop the server that was saved first: both would do the open tasks)"
        )
