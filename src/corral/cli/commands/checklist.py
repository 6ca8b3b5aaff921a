"""`corral checklist`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corral.cli import terminal
from corral.cli.commands.upgrade import (
    Adapt,
    Add,
    AddNode,
    Changes,
    Memory,
    Move,
    Other,
    PowerLimit,
    Psu,
    Remove,
    Replace,
    read_upgrade,
)
from corral.cli.options import AsJson, ClusterArgument, DataDir, DryRun, Url, Verbose, make_example
from corral.data_dir import choose_data_dir

NOT_SETTLED = 1
"""The exit code of a run after which items are open or failed."""

_Ids = list[str] | None
Run = Annotated[bool, typer.Option("--run", help="Walk through the items: look, ask, run commands.")]
OnlyItems = Annotated[
    _Ids, typer.Option("--item", metavar="ID", help="Walk through only this item, settled or not (repeatable).")
]
Done = Annotated[_Ids, typer.Option("--done", metavar="ID", help="Mark an item as done (repeatable).")]
Skip = Annotated[_Ids, typer.Option("--skip", metavar="ID", help="Mark an item as not needed (repeatable).")]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Keep this reason for --done and --skip as evidence.")
]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew, and put earlier answers aside.")]
CarryOver = Annotated[
    bool, typer.Option("--carry-over", help="Keep the answers of items that are the same after the files changed.")
]
Load = Annotated[
    str | None,
    typer.Option(
        "--load",
        metavar="COMMAND",
        help="Put each GPU under load in the load test with this command, as `loadtest` does.",
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="FILE", help="Write a Markdown report to this file, with JSON and a chart next to it."
    ),
]
Agree = Annotated[bool, typer.Option("--yes", "-y", help="Run commands without asking; questions are still asked.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("checklist", epilog=make_example('corral checklist cluster.yaml --add node="RTX 5070 Ti"'))(checklist)


def checklist(
    cluster: ClusterArgument = None,
    to: Other = None,
    replace: Replace = None,
    add: Add = None,
    remove: Remove = None,
    move: Move = None,
    add_node: AddNode = None,
    limit: PowerLimit = None,
    psu: Psu = None,
    memory: Memory = None,
    changes: Changes = None,
    adapt: Adapt = False,
    run: Run = False,
    item: OnlyItems = None,
    done: Done = None,
    skip: Skip = None,
    reason: Reason = None,
    restart: Restart = False,
    carry_over: CarryOver = False,
    load: Load = None,
    report: Report = None,
    url: Url = None,
    data_dir: DataDir = None,
    yes: Agree = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """List the steps of an upgrade, or walk through them.

    With `--run` it walks through them, and can stop and continue at any moment.
    """
    from corral.cli.checklist import ChecklistRequest, run_checklist
    from corral.operations.checklist.answering import ChecklistAsked

    words = {
        "replace": replace,
        "add": add,
        "remove": remove,
        "move": move,
        "add-node": add_node,
        "limit": limit,
        "psu": psu,
        "memory": memory,
    }
    upgrade = read_upgrade(cluster, words, changes, to)
    asked = ChecklistAsked(
        cluster=upgrade.cluster,
        changes=upgrade.changes,
        changes_file=upgrade.changes_file,
        to=upgrade.to,
        adapt=adapt,
        done=tuple(done or ()),
        skipped=tuple(skip or ()),
        reason=reason,
        restart=restart,
        carry_over=carry_over,
    )
    request = ChecklistRequest(
        asked=asked,
        running=run and not dry_run,
        only=tuple(item or ()),
        load=load,
        report=report,
        url=url,
        data_dir=choose_data_dir(data_dir),
        agreed=yes,
        dry=dry_run,
        verbose=verbose,
        as_json=as_json,
    )
    standing = run_checklist(request)
    if request.running and standing.left:
        terminal.note(f"not settled: {len(standing.left)} items, from {standing.left[0].id} on")
        raise typer.Exit(NOT_SETTLED)
