"""`corral reload`."""

from __future__ import annotations

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DataDir, DryRun, Url, make_example
from corral.client.connection import call_server
from corral.errors import Problem
from corral.work import Json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reload", epilog=make_example("corral reload --dry-run"))(reload)


def reload(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False, dry_run: DryRun = False) -> None:
    """Put the edited cluster file into effect without a restart.

    Running tasks go on.
    """
    answer = call_server(url, data_dir, lambda api: api.post("/corral/v1/reload", {"dry_run": dry_run}))
    if as_json:
        terminal.put_json(answer)
        return
    lines = [
        *(f"+ slot {name}" for name in answer["added"]),
        *(f"~ slot {_describe(edit)}" for edit in answer["changed"]),
        *(f"- slot {_describe(edit)}" for edit in answer["removed"]),
        *(f"~ device {_describe(edit)}" for edit in answer["devices"]),
        *(f"* {_describe_pending(edit)}" for edit in answer["pending"]),
        *(f"~ {difference}" for difference in answer["settings"]),
        *(f"! {difference} (takes effect at the next start)" for difference in answer["at_next_start"]),
    ]
    for line in lines or ["nothing differs"]:
        terminal.put(line)
    for problem in answer["problems"]:
        terminal.note(str(Problem(**problem)))
    if dry_run:
        terminal.note("nothing was changed")


def _describe(edit: Json) -> str:
    waits = f" (when {edit['waits_for']} has ended)" if edit["waits_for"] else ""
    return f"{edit['name']}{': ' if edit['what'] else ''}{'; '.join(edit['what'])}{waits}"


def _describe_pending(edit: Json) -> str:
    what = f": {'; '.join(edit['what'])}" if edit["what"] else " leaves"
    return f"{edit['name']}{what} (since an earlier reload, when {edit['waits_for']} has ended)"
