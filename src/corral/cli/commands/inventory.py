"""`corral inventory`: what this machine is, as a cluster file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DryRun, Yes, make_example

if TYPE_CHECKING:
    from corral.cluster.writing import MachineFacts
    from corral.telemetry.inventory import Inventory

MergeInto = Annotated[
    Path | None,
    typer.Option("--merge", metavar="FILE", help="Merge the machine into this cluster file, comments kept."),
]
NodeName = Annotated[
    str | None,
    typer.Option("--node", metavar="NAME", help="Take this node as this machine. Default: by GPU, host name, address."),
]
SectionOnly = Annotated[bool, typer.Option("--section", help="Print the node's section alone, not a whole file.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inventory", epilog=make_example("corral inventory"))(inventory)


def inventory(
    merge: MergeInto = None,
    node: NodeName = None,
    section: SectionOnly = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Print this machine as a cluster file, or merge it into one.

    Its GPUs, processor, memory, drives and power supply are read.
    """
    from corral.operations.inventory import answer_inventory, collect_facts, put_name
    from corral.telemetry.inventory import take_inventory
    from corral.wire import to_json

    reading = take_inventory()
    facts = collect_facts(reading)
    if merge is not None:
        _merge(merge, facts, node, yes=yes, dry_run=dry_run, as_json=as_json)
        return
    facts = put_name(facts, node)
    if as_json:
        terminal.put_json(to_json(answer_inventory(reading, facts)))
        return
    _print(facts, is_section=section)
    _note_unknowns(reading, facts)


def _print(facts: MachineFacts, *, is_section: bool) -> None:
    from corral.cluster.writing import write_file, write_section

    terminal.put(write_section(facts) if is_section else write_file(facts).rstrip("\n"))


def _note_unknowns(reading: Inventory, facts: MachineFacts) -> None:
    """Say on stderr what a file cannot."""
    if facts.gpus is None:
        terminal.note(f"GPUs: unknown, since {facts.gpus_unknown_because}")
    for card in facts.gpus or ():
        if card.is_lost:
            terminal.note(f"GPU {card.index} ({card.driver_name or 'no name'}): lost; it does not answer the driver")
        if card.model is None and card.driver_name is None:
            terminal.note(f"GPU {card.index}: its model is unknown, since neither driver nor pci.ids names it")
        elif card.model is None:
            terminal.note(f"GPU {card.index}: the catalogue does not resolve the driver's name {card.driver_name!r}")
    if not reading.smbios_is_readable:
        terminal.note("power supply, installed memory: the board's tables are for root only; `sudo` can show more")


def _merge(path: Path, facts: MachineFacts, node: str | None, *, yes: bool, dry_run: bool, as_json: bool) -> None:
    from corral.files import replace_text
    from corral.operations.cluster_file import read_cluster_file
    from corral.operations.inventory import MergeAsked, answer_merge, merge
    from corral.wire import to_json

    merged = merge(MergeAsked(cluster=read_cluster_file(path), node=node), facts)
    is_written = merged.is_changed and not dry_run
    if not as_json and merged.is_changed:
        terminal.put(merged.diff())
    for note in merged.merged.notes if not as_json else ():
        terminal.note(f"{merged.merged.node}: {note}")
    if is_written:
        terminal.confirm(f"write this into {path}?", agreed=yes)
        replace_text(path, before=merged.before, after=merged.merged.text)
    if as_json:
        terminal.put_json(to_json(answer_merge(merged, is_written=is_written)))
    elif not merged.is_changed:
        terminal.note(f"{path}: nothing to change")
    else:
        terminal.note(f"{path}: {'written' if is_written else 'not written (--dry-run)'}")
