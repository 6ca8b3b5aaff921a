"""`corral apply`."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.clusters import Context, Force, LayoutName, ask_secret, make_report, put_lacking, run_on_cluster
from corral.cli.options import AsJson, ClusterHere, DryRun, Verbose, make_example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.deploying.lacking import Lack
    from corral.kubernetes.api import Api
    from corral.operations.deploying.applying import Applied
AskSecrets = Annotated[
    bool,
    typer.Option("--ask-secrets", help="Ask for the values of missing Secrets; passwords can be generated."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("apply", epilog=make_example("corral apply --layout edge --dry-run"))(apply)


def apply(
    cluster: ClusterHere = None,
    layout: LayoutName = None,
    context: Context = None,
    ask_secrets: AskSecrets = False,
    force: Force = False,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Bring a Kubernetes cluster to a layout of the cluster file.

    What the cluster lacks is printed first. The API server checks everything; then objects are applied in their order,
    and those of this file that are no longer rendered are deleted, volumes with data apart. A run that was interrupted
    is finished by the next.
    """
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.deploying.applying import apply_layout, observe_target
    from corral.operations.deploying.looking import look_for_lacking, plan_secrets
    from corral.wire import to_json

    file = read_cluster_file(cluster)

    async def work(api: Api) -> tuple[Sequence[Lack], Applied]:
        target = await observe_target(api, file, layout, force=force)
        lacking = await look_for_lacking(api, target)
        put_lacking(lacking)
        secrets = plan_secrets(target, lacking, ask_secret) if ask_secrets and not dry_run else ()
        report = make_report(verbose=verbose, dry_run=dry_run)
        applied = await apply_layout(api, target, secrets=secrets, report=report, force=force, dry_run=dry_run)
        return lacking, applied

    begun = monotonic()
    lacking, applied = run_on_cluster(context, work)
    if as_json:
        terminal.put_json({**to_json(applied), "lacking": [to_json(lack) for lack in lacking]})
        return
    _put_applied(applied, seconds=monotonic() - begun, dry_run=dry_run)


def _put_applied(applied: Applied, *, seconds: float, dry_run: bool) -> None:
    counts = Counter(step.result for step in applied.steps)
    words = ", ".join(f"{count} {result}" for result, count in sorted(counts.items()))
    verb = "would apply" if dry_run else "applied"
    moved = f" (was {applied.before})" if applied.before not in (None, applied.layout) else ""
    waiting = f", {len(applied.waiting)} waiting for CRDs" if applied.waiting else ""
    terminal.put_fields(
        (
            (verb, f"layout {applied.layout}{moved}: {words}{waiting} in {seconds:.0f} s"),
            ("waiting", ", ".join(applied.waiting)),
            ("stays", ", ".join(applied.kept)),
        )
    )
    for note in applied.notes:
        terminal.note_more(f"note: {note}")
