"""`corral inventory`: what this machine is, as a cluster file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli import terminal
from corral.cli.options import AsJson, DryRun, Yes, make_example

if TYPE_CHECKING:
    from corral.cluster.editing.facts import NodeFacts
    from corral.operations.inventory import Merge
    from corral.telemetry.inventory.values import Inventory
    from corral.telemetry.nvml import FoundGpu, PcieLink
    from corral.work import Json

MergeInto = Annotated[
    Path | None, typer.Option("--merge", metavar="FILE", help="Merge it into this cluster file, comments kept.")
]
NodeName = Annotated[
    str | None,
    typer.Option("--node", metavar="NAME", help="The node that is this machine. Default: by card, host name, address."),
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
    """Read this machine's GPUs, processor, memory, drives and power supply; print a cluster file, or merge into one."""
    from dataclasses import replace

    from corral.cluster.write import fitted
    from corral.operations.inventory import facts_of
    from corral.telemetry.inventory.reading import take_inventory

    found = take_inventory()
    facts = facts_of(found)
    if merge is not None:
        _merge(merge, facts, node, yes=yes, dry_run=dry_run, as_json=as_json)
        return
    facts = facts if node is None else replace(facts, name=fitted(node))
    if as_json:
        terminal.put_json(inventory_json(found, facts))
        return
    _print(facts, is_section=section)
    _note_unknowns(found, facts)


def _print(facts: NodeFacts, *, is_section: bool) -> None:
    from corral.cluster.editing.section import write_section
    from corral.cluster.write import file_of

    text = write_section(facts)
    terminal.put(text if is_section else file_of(facts.name, text).rstrip("\n"))


def _note_unknowns(found: Inventory, facts: NodeFacts) -> None:
    """Say on stderr what a file cannot."""
    if facts.gpus is None:
        terminal.note(f"GPUs: unknown, since {facts.gpus_unknown_because}")
    for card in facts.gpus or ():
        if card.is_lost:
            terminal.note(f"GPU {card.index} ({card.driver_name or 'no name'}): lost; it does not answer the driver")
        if card.model is None:
            terminal.note(f"GPU {card.index}: the catalogue does not resolve the driver's name {card.driver_name!r}")
    if not found.board_is_readable:
        terminal.note("power supply, installed memory: the board's tables are for root only; `sudo` may tell more")


def _merge(path: Path, facts: NodeFacts, node: str | None, *, yes: bool, dry_run: bool, as_json: bool) -> None:
    from corral.files import replace_text
    from corral.operations.inventory import merge

    merged = merge(path, facts, node=node)
    is_written = merged.is_changed and not dry_run
    if not as_json and merged.is_changed:
        terminal.put(merged.diff())
    for note in merged.merged.notes if not as_json else ():
        terminal.note(f"{merged.merged.node}: {note}")
    if is_written:
        terminal.confirm(f"write this into {path}?", agreed=yes)
        replace_text(path, before=merged.before, after=merged.merged.text)
    if as_json:
        terminal.put_json(merge_json(merged, is_written=is_written))
    elif not merged.is_changed:
        terminal.note(f"{path}: nothing to change")
    else:
        terminal.note(f"{path}: {'written' if is_written else 'not written (--dry-run)'}")


def merge_json(merge: Merge, *, is_written: bool) -> Json:
    """Return a merge in its JSON shape."""
    return {
        "file": str(merge.path),
        "node": merge.merged.node,
        "is_new": merge.merged.is_new,
        "changed": merge.is_changed,
        "written": is_written,
        "notes": list(merge.merged.notes),
        "diff": merge.diff(),
    }


def inventory_json(found: Inventory, facts: NodeFacts) -> Json:
    """Return an inventory in its JSON shape; what is unknown is null, and sizes are bytes."""
    models = {card.index: card.model for card in facts.gpus or ()}
    return {
        "node": facts.name,
        "hostname": found.hostname,
        "address": found.address,
        "addresses": list(found.addresses),
        "os": {"id": found.os, "version": found.os_version, "kernel": found.kernel},
        "cpu": {"model": found.cpu_model, "cores": found.cpu_cores, "threads": found.cpu_threads},
        "memory": {"size": found.memory, "is_installed": found.memory_is_installed},
        "disks": [{"name": disk.name, "size": disk.size, "medium": disk.medium} for disk in found.disks],
        "psu": {"watts": found.board.psu_w, "name": found.board.psu_name},
        "driver": {
            "status": found.nvml.status.value,
            "reason": found.nvml.reason or None,
            "version": found.nvml.driver_version,
            "cuda": None if found.nvml.cuda_version is None else "{}.{}".format(*found.nvml.cuda_version),
        },
        "gpus": None if facts.gpus is None else [_gpu_json(gpu, models[gpu.index]) for gpu in found.nvml.gpus],
        "gpus_unknown_because": facts.gpus_unknown_because,
    }


def _gpu_json(gpu: FoundGpu, model: str | None) -> Json:
    least, most = gpu.power_limit_range_w or (None, None)
    return {
        "index": gpu.index,
        "state": gpu.state.value,
        "problem": gpu.problem,
        "model": model,
        "driver_name": gpu.name,
        "uuid": gpu.uuid,
        "memory": gpu.memory_total,
        "cuda_capability": None if gpu.cuda_capability is None else "{}.{}".format(*gpu.cuda_capability),
        "power_limit": {"watts": gpu.power_limit_w, "default": gpu.power_limit_default_w, "min": least, "max": most},
        "pcie": {"now": _link_json(gpu.pcie), "best": _link_json(gpu.pcie_best)},
    }


def _link_json(link: PcieLink | None) -> Json | None:
    return None if link is None else {"generation": link.generation, "width": link.width}
