"""`corral power`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, ClusterArgument, make_example

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corral.hardware.power import NodePower

Explain = Annotated[bool, typer.Option("--explain", help="List every number with where it comes from.")]
Here = Annotated[
    str | None,
    typer.Option("--here", metavar="NODE", help="This machine is NODE: ask its driver which limits its cards take."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("power", epilog=make_example("corral power cluster.yaml"))(power)


def power(
    cluster: ClusterArgument = None, explain: Explain = False, here: Here = None, as_json: AsJson = False
) -> None:
    """Show what each node draws at full load, whether its power supply carries it, the heat, and what a night costs.

    All of it comes from the cluster file and the catalogue; `--explain` says which number from where. `>=` marks a sum
    that lacks a card of unknown power, `~` one that rests on an assumption; `->` leads to what the file's power limits
    make of it.
    """
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.powering import PowerAsked, work_out_power
    from corral.wire import to_json

    found = work_out_power(PowerAsked(cluster=read_cluster_file(cluster), here=here))
    if as_json:
        terminal.put_json(to_json(found))
    elif explain:
        _put_sources(found.nodes)
    else:
        _put(found.nodes)


def _put(nodes: tuple[NodePower, ...]) -> None:
    from corral.cli.figures import power_columns

    rows = [power_columns(node) for node in nodes]
    shown = [name for name in rows[0] if name in ("node", "verdict") or any(row[name] for row in rows)]
    terminal.put_table(shown, [[row[name] for name in shown] for row in rows], empty="the cluster file has no nodes")
    for node in nodes:
        if node.cards or node.unknown:
            terminal.put(f"\n{node.node}")
        for note in _format_notes(node):
            terminal.put_text(note, indent="  ")


def _format_notes(node: NodePower) -> Iterator[str]:
    if not node.cards and not node.unknown:
        return
    for lacking in node.unknown:
        yield f"unknown: {lacking}"
    for one in node.judgements:
        yield f"{one.verdict.value}: {one.about}: {one.what} ({one.reason})"
    for card in node.cards:
        for loss in card.speed_losses:
            yield f"GPU {card.index}: its limit costs at most {loss.value:g} % of the speed of {loss.source}"
    for todo in node.advice:
        yield f"to do: {todo}"


def _put_sources(nodes: tuple[NodePower, ...]) -> None:
    from corral.cli.figures import amount, power_figures

    rows = [
        (node.node, name, amount(figure), figure.origin.value, figure.source)
        for node in nodes
        for name, figure in power_figures(node)
    ]
    terminal.put_table(("node", "what", "value", "origin", "where from"), rows, empty="the cluster file has no nodes")
