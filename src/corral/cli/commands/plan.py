"""`corral plan`."""

from __future__ import annotations

from typing import Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, ClusterArgument, example

Layout = Annotated[
    str | None,
    typer.Option("--layout", metavar="NAME", help="The layout to plan. Default: each layout of the file in turn."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan", epilog=example("corral plan cluster.yaml"))(plan)


def plan(cluster: ClusterArgument = None, layout: Layout = None, as_json: AsJson = False) -> None:
    """Show what would run on which GPU, what has no place and why, and what to beware of. Nothing is changed.

    The exit code is 5 when something that a layout asks for cannot be placed; what can take turns with others through
    the queue does not count as that.
    """
    from corral.cli.plans import plan_json, power_json, put_plan, put_power
    from corral.operations.planning import plan_file, require_places

    planned = plan_file(cluster, layout=layout)
    if as_json:
        plans = [plan_json(one) for one in planned.plans]
        power = [power_json(one) for one in planned.power]
        terminal.put_json({"cluster": planned.file.cluster.name, "plans": plans, "power": power})
    else:
        for place, one in enumerate(planned.plans):
            if place:
                terminal.put("")
            put_plan(one)
        put_power(planned.power)
    require_places(planned)
