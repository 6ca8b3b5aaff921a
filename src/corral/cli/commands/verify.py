"""`corral verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from corral.cli import terminal
from corral.cli.clusters import Context, LayoutName, run_on_cluster
from corral.cli.exits import CODES
from corral.cli.options import AsJson, ClusterHere, Verbose, make_example
from corral.errors import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.kubernetes.api import Api
    from corral.operations.deploying.verdict import Verdict
    from corral.verifying.values import Check

BAD = 1
"""The exit code when a check is bad."""
UNKNOWN = CODES[Kind.UNAVAILABLE]
"""The exit code when no check is bad, and one could not be made."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify", epilog=make_example("corral verify --layout edge"))(verify)


def verify(
    cluster: ClusterHere = None,
    layout: LayoutName = None,
    context: Context = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Check whether a layout works on its Kubernetes cluster.

    Pods are on their nodes, GPUs are given out as planned, Services lead to pods, services reach what they call, models
    are pulled, engines of the queue answer, dashboards' targets are up, NFS exports can be written to. What only the
    inside of the cluster knows is asked in containers that run, else by a Job that is deleted again. The exit code is 1
    when a check is bad, and 6 when none is but one could not be made.
    """
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.deploying.verdict import verify_layout
    from corral.wire import to_json

    file = read_cluster_file(cluster)
    report = terminal.note if terminal.is_attended() and not as_json else _say_nothing

    async def work(api: Api) -> Verdict:
        return await verify_layout(api, file, layout, report=report)

    verdict = run_on_cluster(context, work)
    if as_json:
        terminal.put_json(to_json(verdict))
    else:
        _put_verdict(verdict, verbose=verbose)
    raise typer.Exit({"ok": 0, "bad": BAD}.get(verdict.mark.value, UNKNOWN))


def _say_nothing(_: str) -> None:
    pass


def _put_verdict(verdict: Verdict, *, verbose: bool) -> None:
    terminal.put_text(f"layout {verdict.layout}: {_count(verdict.checks)}")
    for check in verdict.checks:
        fix = f"   fix: {check.fix}" if check.fix else ""
        terminal.put_text(f"{check.mark.value:7}  {check.name}: {check.what}{fix}")
        for line in check.evidence if verbose or check.fix else ():
            terminal.put_text(f"seen: {line}", indent="         ")
    for job in verdict.created:
        terminal.note_more(f"{job} asked, and is deleted")
    if not verbose:
        terminal.note_more("-v adds what each check was concluded from")


def _count(checks: Sequence[Check]) -> str:
    """Count the checks by their result: the answer first."""
    counts = [(mark, sum(check.mark.value == mark for check in checks)) for mark in ("bad", "unknown", "ok")]
    return ", ".join(f"{count} {mark}" for mark, count in counts if count) or "nothing to check"
