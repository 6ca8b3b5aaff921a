"""`corral power`."""

from __future__ import annotations

from typing import Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, ClusterArgument, Verbose, make_example

Explain = Annotated[bool, typer.Option("--explain", help="Print every number with its origin.")]
Here = Annotated[
    str | None,
    typer.Option(
        "--here", metavar="NODE", help="Take NODE as this machine, and ask its driver for the range of power limits."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("power", epilog=make_example("corral power cluster.yaml"))(power)


def power(
    cluster: ClusterArgument = None,
    explain: Explain = False,
    here: Here = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Print each node's power draw, heat and cost of a night.

    It says whether the power supply carries the full load. All of it comes from the cluster file and the catalogue;
    `--explain` says which number from where. `>=` marks a sum that lacks a GPU of unknown power, `~` one that rests
    on an assumption; `->` leads to what the file's power limits make of it.
    """
    from corral.cli.powers import put_power, put_power_sources
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.powering import PowerAsked, work_out_power
    from corral.wire import to_json

    answer = work_out_power(PowerAsked(cluster=read_cluster_file(cluster), here=here))
    if as_json:
        terminal.put_json(to_json(answer))
    elif explain:
        put_power_sources(answer.nodes)
    else:
        put_power(answer.nodes, verbose=verbose)
