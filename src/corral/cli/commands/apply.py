"""`corral apply`."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING

import typer

from corral.cli import terminal
from corral.cli.clusters import Context, Force, LayoutName, make_report, run_on_cluster
from corral.cli.options import AsJson, ClusterHere, DryRun, Verbose, make_example

if TYPE_CHECKING:
    from corral.kubernetes.api import Api
    from corral.operations.deploying.applying import Applied


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("apply", epilog=make_example("corral apply --layout edge --dry-run"))(apply)


def apply(
    cluster: ClusterHere = None,
    layout: LayoutName = None,
    context: Context = None,
    force: Force = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Bring a Kubernetes cluster to a layout of the cluster file.

    The API server checks everything first; then objects are applied in their order, and those of this file that are no
    longer rendered are deleted, volumes with data apart. A run that was interrupted is finished by the next.
    """
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.deploying.applying import apply_layout, observe_target
    from corral.wire import to_json

    file = read_cluster_file(cluster)

    async def work(api: Api) -> Applied:
        target = await observe_target(api, file, layout, force=force)
        report = make_report(verbose=verbose, dry_run=dry_run)
        return await apply_layout(api, target, report=report, force=force, dry_run=dry_run)

    begun = monotonic()
    applied = run_on_cluster(context, work)
    if as_json:
        terminal.put_json(to_json(applied))
        return
    _put_applied(applied, seconds=monotonic() - begun, dry_run=dry_run)


def _put_applied(applied: Applied, *, seconds: float, dry_run: bool) -> None:
    counts = Counter(done.result for done in applied.steps)
    words = ", ".join(f"{count} {result}" for result, count in sorted(counts.items()))
    verb = "would apply" if dry_run else "applied"
    moved = f" (was {applied.before})" if applied.before not in (None, applied.layout) else ""
    waiting = f", {len(applied.waiting)} waiting for CRDs" if applied.waiting else ""
    terminal.put_fields(
        (
            (verb, f"layout {applied.layout}{moved}: {words}{waiting} in {seconds:.0f} s"),
            ("waiting", ", ".join(applied.waiting)),
            ("kept", ", ".join(applied.kept)),
            ("no node", ", ".join(applied.absent_nodes)),
        )
    )
