"""`corral delete`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from corral.cli import terminal
from corral.cli.clusters import Context, make_report, run_on_cluster
from corral.cli.options import AsJson, ClusterHere, DryRun, Verbose, Yes, make_example

if TYPE_CHECKING:
    from corral.kubernetes.api import Api
    from corral.operations.deploying.deleting import Removal
    from corral.work import Json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("delete", epilog=make_example("corral delete --dry-run"))(delete)


def delete(
    cluster: ClusterHere = None,
    context: Context = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Delete what `corral apply` has put on a Kubernetes cluster.

    It takes all layouts of this cluster file. It lists what goes, in its order, and what stays with the reason: volumes
    with data, Secrets, CRDs, and a namespace that others use. Then it asks once. A run that was interrupted is finished
    by the next.
    """
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.deploying.deleting import delete_installation, observe_removal

    file = read_cluster_file(cluster)
    removal = run_on_cluster(context, lambda api: observe_removal(api, file))
    if not as_json:
        _put_plan(removal, verbose=verbose)
    if removal.plan.steps and not dry_run:
        count = terminal.format_count(len(removal.plan.steps), "object")
        terminal.confirm(f"Delete {count} of {removal.state.cluster}?", agreed=yes)

        async def work(api: Api) -> None:
            await delete_installation(api, removal, report=make_report(verbose=verbose, dry_run=False))

        run_on_cluster(context, work)
    if as_json:
        terminal.put_json(_to_json(removal, dry_run=dry_run))
    elif removal.plan.steps and not dry_run:
        terminal.put(f"deleted  {terminal.format_count(len(removal.plan.steps), 'object')}")


def _put_plan(removal: Removal, *, verbose: bool) -> None:
    rows = [(str(place), str(step.key)) for place, step in enumerate(removal.plan.steps, start=1)]
    terminal.put_table(
        ("order", "goes"),
        rows,
        empty=f"{removal.state.cluster} has nothing on this cluster",
        most=None if verbose else 60,
    )
    kept = [(kept.object, kept.reason, kept.command) for kept in removal.plan.kept]
    if kept:
        terminal.put("")
        terminal.put_table(("stays", "because", "deleted with"), kept, empty="")


def _to_json(removal: Removal, *, dry_run: bool) -> Json:
    from corral.wire import to_json

    return {
        "cluster": removal.state.cluster,
        "deleted": [str(step.key) for step in removal.plan.steps],
        "kept": [to_json(kept) for kept in removal.plan.kept],
        "dry_run": dry_run,
    }
