"""`corral backup`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, Url, Yes, make_example
from corral.client.connection import call_server
from corral.units import format_bytes

if TYPE_CHECKING:
    from corral.client.api import Api
    from corral.tasks.backup.archive import Manifest


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("backup", epilog=make_example("corral backup corral-backup.tar --yes"))(backup)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Write the backup to this file.")],
    yes: Yes = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Save the queue of a running server in one file.

    It holds the database, the files that it names, and the cluster file. Tasks go on meanwhile. The file appears
    under its name when it is whole and was checked. Models are not in it.
    """
    from dataclasses import asdict

    if file.exists():
        terminal.confirm(f"replace {file}?", agreed=yes)
    manifest = call_server(url, data_dir, lambda api: _save(api, file))
    if as_json:
        terminal.put_json(asdict(manifest))
        return
    terminal.put_text(
        f"{file}: {format_bytes(file.stat().st_size)}, {terminal.format_count(manifest.tasks, 'task')} "
        f"({manifest.open_tasks} open), {terminal.format_count(manifest.artifacts, 'file')}"
    )
    if manifest.missing:
        terminal.note(f"{terminal.format_count(manifest.missing, 'file')} of tasks was not there, and is not in it")


async def _save(api: Api, file: Path) -> Manifest:
    """Download a backup, check it, and give it its name. Raises: RemoteError, BackupDamagedError, OSError."""
    import asyncio

    from corral.cli.progress_bar import show_bytes
    from corral.tasks.backup.archive import unpack

    target = file.resolve()
    part = target.with_name(f".{uuid4().hex}.part")
    try:
        async with api.open_file("/corral/v1/backup") as (size, chunks):
            with show_bytes("saving", size) as advance, part.open("xb") as written:
                part.chmod(0o600)  # inputs of tasks and hashes of tokens are in it
                async for chunk in chunks:
                    written.write(chunk)
                    advance(len(chunk))
        manifest = await asyncio.to_thread(unpack, part, None)
        await asyncio.to_thread(_put_in_place, part, target)
    finally:
        part.unlink(missing_ok=True)
    return manifest


def _put_in_place(part: Path, target: Path) -> None:
    import os

    from corral.files import sync_folder

    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    sync_folder(target.parent)
