"""`corral gc`."""

from __future__ import annotations

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, DryRun, Url, Yes, make_example
from corral.client.connection import call_server


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gc", epilog=make_example("corral gc --dry-run"))(gc)


def gc(
    yes: Yes = False, url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Remove finished tasks and files past the time they are kept.

    The cluster file sets that time.
    """
    if not dry_run:
        terminal.confirm("remove what is older than the retention of the cluster file?", agreed=yes)
    answer = call_server(url, data_dir, lambda api: api.post("/corral/v1/gc", {"dry_run": dry_run}))
    if as_json:
        terminal.put_json(answer)
    else:
        terminal.put_fields((name, amount) for name, amount in answer.items() if name != "dry_run")
    if dry_run:
        terminal.note("nothing was removed")
