"""`corral plan`."""

from __future__ import annotations

from typing import Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, ClusterArgument, Verbose, make_example

Layout = Annotated[
    str | None,
    typer.Option("--layout", metavar="NAME", help="Plan only this layout. Default: each layout of the file."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan", epilog=make_example("corral plan cluster.yaml"))(plan)


def plan(
    cluster: ClusterArgument = None, layout: Layout = None, verbose: Verbose = False, as_json: AsJson = False
) -> None:
    """Plan which service runs on which GPU, with reasons and warnings. Nothing is changed.

    The exit code is 5 when something that a layout asks for cannot be placed; what can take turns with others through
    the queue does not count as that.
    """
    from corral.cli.plans import put_plans
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.planning import PlanAsked, answer_plan, plan_layouts, require_places
    from corral.wire import to_json

    planned = plan_layouts(PlanAsked(cluster=read_cluster_file(cluster), layout=layout))
    if as_json:
        terminal.put_json(to_json(answer_plan(planned)))
    else:
        put_plans(planned.plans, planned.power, verbose=verbose)
    require_places(planned)
