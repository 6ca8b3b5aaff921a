"""`corral apply`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.clusters import (
    Context,
    Force,
    LayoutName,
    NoWait,
    Within,
    ask_secret,
    make_report,
    put_lacking,
    report_unready,
    run_on_cluster,
)
from corral.cli.options import AsJson, ClusterHere, DryRun, Verbose, make_example
from corral.units import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.deploying.lacking import Lack
    from corral.kubernetes.api import Api
    from corral.operations.deploying.applying import Applied, Target
    from corral.operations.deploying.waiting import NotReadyError
    from corral.work import Json

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
    no_wait: NoWait = False,
    within: Within = None,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Bring a Kubernetes cluster to a layout of the cluster file.

    What the cluster lacks is printed first. The API server checks everything; then objects are applied in their order,
    and those of this file that are no longer rendered are deleted, volumes with data apart. A run that was interrupted
    is finished by the next. Then it waits until all services are ready, and prints why they are not.
    """
    from corral.deploying.readiness import forecast_start
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.deploying.applying import apply_layout, observe_target
    from corral.operations.deploying.looking import look_for_lacking, plan_secrets
    from corral.operations.deploying.waiting import NotReadyError, wait_until_ready
    from corral.wire import to_json

    file = read_cluster_file(cluster)
    within_s = None if within is None else parse_duration(within).total_seconds()
    begun = monotonic()

    async def work(api: Api) -> _Outcome:
        target = await observe_target(api, file, layout, force=force)
        lacking = await look_for_lacking(api, target)
        put_lacking(lacking)
        _note_other_layout(target)
        secrets = plan_secrets(target, lacking, ask_secret) if ask_secrets and not dry_run else ()
        report = make_report(verbose=verbose, dry_run=dry_run)
        applied = await apply_layout(api, target, secrets=secrets, report=report, force=force, dry_run=dry_run)
        outcome = _Outcome(lacking=lacking, applied=applied, seconds=monotonic() - begun)
        if no_wait or dry_run:
            return outcome
        forecast = forecast_start(target.wanted.installation, target.snapshot)
        limit_s = forecast.limit_s if within_s is None else within_s
        try:
            ready = await wait_until_ready(
                api, target.wanted.objects, within_s=limit_s, expected_s=forecast.expected_s, report=report_unready
            )
        except NotReadyError as error:
            return replace(outcome, unready=error)
        return replace(outcome, ready_s=ready.after_s)

    outcome = run_on_cluster(context, work)
    if as_json:
        unready = () if outcome.unready is None else outcome.unready.unready
        waited: Json = {"ready_after_s": outcome.ready_s, "unready": [to_json(workload) for workload in unready]}
        lacks = [to_json(lack) for lack in outcome.lacking]
        terminal.put_json({**to_json(outcome.applied), **waited, "lacking": lacks})
    else:
        _put_applied(outcome, dry_run=dry_run)
    if outcome.unready is not None:
        raise outcome.unready


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """The result of an apply, and whether it is ready."""

    lacking: Sequence[Lack]
    applied: Applied
    seconds: float
    ready_s: float | None = None
    """Seconds until all was ready; None where that was not waited for, or did not happen."""
    unready: NotReadyError | None = None


def _note_other_layout(target: Target) -> None:
    """Print how to change layouts where another one is active."""
    active = target.state.layout
    if active not in (None, target.wanted.layout) and active in target.wanted.installation.cluster.layouts:
        terminal.note(
            f"note     {active} is active: `corral switch {target.wanted.layout}` lets its tasks end and rolls back"
        )


def _put_applied(outcome: _Outcome, *, dry_run: bool) -> None:
    applied = outcome.applied
    counts = Counter(step.result for step in applied.steps)
    words = ", ".join(f"{count} {result}" for result, count in sorted(counts.items()))
    verb = "would apply" if dry_run else "applied"
    moved = f" (was {applied.before})" if applied.before not in (None, applied.layout) else ""
    ready = "" if outcome.ready_s is None else f" ... ready in {format_duration(outcome.seconds + outcome.ready_s)}"
    waiting = f", {len(applied.waiting)} waiting for CRDs" if applied.waiting else ""
    terminal.put_fields(
        (
            (verb, f"layout {applied.layout}{moved}: {words}{waiting} in {outcome.seconds:.0f} s{ready}"),
            ("waiting", ", ".join(applied.waiting)),
            ("stays", ", ".join(applied.kept)),
        )
    )
    for note in applied.notes:
        terminal.note_more(f"note: {note}")
