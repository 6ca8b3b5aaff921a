"""`corral switch`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.clusters import Context, Within, run_on_cluster
from corral.cli.options import AsJson, ClusterHere, DataDir, DryRun, Url, make_example
from corral.units import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from corral.deploying.storage_changes import LeftVolume
    from corral.kubernetes.api import Api
    from corral.operations.deploying.draining import Queue
    from corral.operations.deploying.switching import PlannedSwitch, Progress, Switched

LayoutArgument = Annotated[
    str | None,
    typer.Argument(metavar="LAYOUT", help="The layout. Default: the active one, whose storage the file changes."),
]
Now = Annotated[bool, typer.Option("--now", help="Do not wait for tasks; they are tried again elsewhere or later.")]
Back = Annotated[bool, typer.Option("--back", help="Roll an interrupted switch back.")]
ForceSwitch = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Go on although Services dangle or images seem missing, and take over fields that others have set.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("switch", epilog=make_example("corral switch workstation --dry-run"))(switch)


def switch(
    layout: LayoutArgument = None,
    cluster: ClusterHere = None,
    context: Context = None,
    now: Now = False,
    back: Back = False,
    within: Within = None,
    force: ForceSwitch = False,
    dry_run: DryRun = False,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Switch a Kubernetes cluster to another layout, or roll back.

    Everything that is in the way is listed first. Then the queue's slots that vanish are closed and their tasks end,
    the old services stop, and the new ones start once the GPUs are free. When they are not ready in time, the layout
    before is restored. After an interruption the same command goes on, on any machine.
    """
    from corral.deploying.preflight import ObstaclesError
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.deploying.applying import observe_target
    from corral.operations.deploying.switching import Options, PlannedSwitch, RolledBackError, Switching
    from corral.wire import to_json

    file = read_cluster_file(cluster)
    within_s = None if within is None else parse_duration(within).total_seconds()
    options = Options(now=now, force=force, back=back, within_s=within_s)

    async def work(api: Api) -> PlannedSwitch | Switched:
        target = await observe_target(api, file, layout, force=force)
        async with _connect(url, data_dir) as queue:
            switching = Switching(cluster=api, target=target, queue=queue, options=options, report=_report)
            return await switching.plan() if dry_run else await switching.run()

    try:
        answer = run_on_cluster(context, work)
    except RolledBackError as error:
        if as_json:
            terminal.put_json(to_json(error.switched))
        raise
    if as_json:
        terminal.put_json(to_json(answer))
    if isinstance(answer, PlannedSwitch):
        if not as_json:
            _put_plan(answer)
        if answer.obstacles:
            raise ObstaclesError(answer.obstacles)
    elif not as_json:
        _put_switched(answer)


@asynccontextmanager
async def _connect(url: str | None, data_dir: Path | None) -> AsyncGenerator[Queue | None]:
    """Connect to the queue; None where no server runs for the data directory. Raises: RemoteError."""
    from corral.cli.slot_gates import SlotGates
    from corral.client.api import Api as ServerApi
    from corral.client.connection import NoServerError, locate

    try:
        server = locate(url, data_dir)
    except NoServerError as error:
        terminal.note(f"queue    {error.what}: no slot is closed, and no task is waited for")
        yield None
        return
    async with ServerApi(server.url, server.token) as api:
        yield SlotGates(api)


def _report(progress: Progress) -> None:
    terminal.note(_format(progress))


def _format(progress: Progress) -> str:
    back = "back  " if progress.is_back else ""
    return f"{back}{progress.number} of {progress.of}  {progress.stage:7}  {progress.what}"


def _put_plan(plan: PlannedSwitch) -> None:
    verb = {"begin": "would switch", "forward": "would go on with the switch", "back": "would roll back"}[plan.way]
    terminal.put(f"{verb} from {plan.before} to {plan.after}")
    for progress in plan.stages:
        terminal.put_text(_format(progress))
    _put_rest(plan.kept, plan.left)


def _put_switched(switched: Switched) -> None:
    verb = "rolled back" if switched.is_back else "switched"
    terminal.put(f"{verb}  to {switched.layout} (was {switched.before}) in {format_duration(switched.seconds)}")
    _put_rest(switched.kept, switched.left)
    if switched.still_closed:
        names = " ".join(switched.still_closed)
        terminal.note(f"slots that are still closed: open them with `corral slots resume {names}`")


def _put_rest(kept: Sequence[str], left: Sequence[LeftVolume]) -> None:
    for name in kept:
        terminal.put_text(f"stays    {name}, which the layout does not have")
    for volume in left:
        terminal.put_text(f"stays    data in {volume}")
