"""The executive summary: verdict, changes, both sides as trees, totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

from corral.figures import Figure
from corral.planning.upgrade.advice import Weight
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import ABSENT, UNKNOWN, Difference, change_text, figure_text, format_amount
from corral.planning.upgrade.gpus import NodeGpu
from corral.planning.upgrade.hardware import GpuChange, GpuChangeKind, NodeComparison, Side
from corral.planning.upgrade.power import MACHINE, RECOMMENDED, TGP
from corral.planning.upgrade.report.pieces import bullets, code, paragraph, table

_MOST_NODES = 12
"""Unchanged nodes of a larger cluster are told as one row of the totals."""
_GAP = 3


def title(upgrade: Upgrade) -> str:
    """Name the report by what changes: `Upgrade of hydra: hydra-compute/gpu1 becomes RTX 5070 Ti`."""
    gpus = [change for change in upgrade.hardware.changes if change.kind is not GpuChangeKind.LIMITED]
    if len(gpus) == 1:
        return f"Upgrade of {upgrade.after.name}: {change_sentence(gpus[0])}"
    nodes = ", ".join(node.name for node in upgrade.hardware.changed)
    return f"Upgrade of {upgrade.after.name}: {nodes or 'no card changes'}"


def summary(upgrade: Upgrade) -> list[str]:
    """Write the executive summary."""
    advice = upgrade.recommendation
    lines = ["## Executive summary", "", *paragraph(f"**Recommendation: {advice.advice.value}**: {advice.sentence}")]
    lines += ["**What changes**", "", *(bullets(map(change_sentence, upgrade.hardware.changes)) or ["No card.", ""])]
    against = [reason.what for reason in advice.of(Weight.CONDITION, Weight.LOSS, Weight.BLOCKER, Weight.COST)]
    if against:
        lines += ["**What it costs, and what to settle**", "", *bullets(against)]
    rows = [
        (difference.name, difference.before_text, difference.after_text, change_text(difference))
        for difference in _key_figures(upgrade)
    ]
    lines += ["### Key figures", "", *table(("", "Before", "After", "Change"), rows)]
    lines += [*paragraph("Where each comes from stands in Parts 1 and 6."), "### Before and after", ""]
    for node in upgrade.hardware.changed:
        lines += code("text", "\n".join(_trees(upgrade, node)))
    lines += ["### Cluster totals", "", *_totals(upgrade)]
    return lines


def _key_figures(upgrade: Upgrade) -> list[Difference]:
    """List what most people ask first: memory, watts, supply, and what a night makes."""
    hardware = upgrade.hardware
    rows = [hardware.memory]
    for machine in upgrade.power:
        figures = (machine.row(name) for name in (TGP, MACHINE, RECOMMENDED))
        rows += [replace(row, name=f"{row.name}, {machine.node}") for row in figures if row is not None]
    return rows + [
        workload.per_night for workload in upgrade.findings.throughput if workload.per_night.after is not None
    ]


def change_sentence(change: GpuChange) -> str:
    """Say what happens at one place."""
    if change.kind is GpuChangeKind.LIMITED:
        limits = [gpu.power_limit_w if gpu else None for gpu in (change.before, change.after)]
        old, new = ("no power limit" if limit is None else f"{limit} W" for limit in limits)
        return f"{change.place}: {old} → {new}"
    if change.before is not None and change.kind in (GpuChangeKind.MOVED, GpuChangeKind.RENUMBERED):
        return f"{change.place}: was {change.before.name}, {card_text(change.before)}"
    if change.before is None and change.after is not None:
        return f"{change.place}: new, {card_text(change.after)}"
    if change.after is None and change.before is not None:
        return f"{change.place}: gone, {card_text(change.before)}"
    before, after = (card_text(gpu) if gpu else "" for gpu in (change.before, change.after))
    return f"{change.place}: {before} → {after}"


def card_text(gpu: NodeGpu) -> str:
    """Write a card with its memory and power limit: `RTX 5070 Ti (16 GiB, limit 250 W)`."""
    facts = [UNKNOWN + " VRAM" if gpu.memory is None else format_amount(gpu.memory, "B")]
    if gpu.power_limit_w is not None:
        facts.append(f"limit {gpu.power_limit_w} W")
    return f"{gpu.title} ({', '.join(facts)})"


def _trees(upgrade: Upgrade, node: NodeComparison) -> list[str]:
    words = next(comparison for comparison in upgrade.complexity if comparison.node == node.name)
    left = _tree("BEFORE", node, node.before, words.before)
    right = _tree("AFTER", node, node.after, words.after)
    width = max(len(line) for line in left) + _GAP
    return [f"{old.ljust(width)}{new}".rstrip() for old, new in zip_longest(left, right, fillvalue="")]


def _tree(heading: str, node: NodeComparison, side: Side | None, words: str) -> list[str]:
    before = heading == "BEFORE"
    memory = node.memory.before if before else node.memory.after
    tgp = node.tgp.before if before else node.tgp.after
    gpus = side.gpus if side else ()
    lines = [heading, node.name if side else f"({node.name} is not there)"]
    for place, gpu in enumerate(gpus):
        branch = "└──" if place == len(gpus) - 1 else "├──"
        architecture = f" {gpu.facts.architecture}" if gpu.facts and gpu.facts.architecture else ""
        lines.append(f"{branch} gpu{gpu.index} {card_text(gpu)}{architecture}")
    if side is None:
        return lines
    changes = ("", "") if before else (_bracket(change_text(node.memory)), _bracket(change_text(node.tgp)))
    return [
        *lines,
        f"Total VRAM: {figure_text(memory)}{changes[0]}",
        f"Total TGP:  {figure_text(tgp)}{changes[1]}",
        f"Scheduling: {words}",
    ]


def _bracket(text: str) -> str:
    return "" if text in ("none", UNKNOWN, ABSENT) else f" ({text})"


def _totals(upgrade: Upgrade) -> list[str]:
    hardware = upgrade.hardware
    shown = hardware.nodes if len(hardware.nodes) <= _MOST_NODES else hardware.changed
    rows = [
        (
            node.name,
            _side_text(node.memory.before, node.before),
            _side_text(node.memory.after, node.after),
            _change(node),
        )
        for node in shown
    ]
    hidden = len(hardware.nodes) - len(shown)
    if hidden:
        rows.append((f"{hidden} other nodes", "as before", "as before", "none"))
    before, after = (figure_text(entry) for entry in (hardware.memory.before, hardware.memory.after))
    rows.append(("**Total**", f"**{before}**", f"**{after}**", f"**{change_text(hardware.memory)}**"))
    return table(("Node", "VRAM before", "VRAM after", "Change"), rows)


def _change(node: NodeComparison) -> str:
    if node.before is None or node.after is None:
        return "new node" if node.before is None else "gone"
    return change_text(node.memory)


def _side_text(memory: Figure | None, side: Side | None) -> str:
    if side is None:
        return "-"
    return f"{figure_text(memory)} ({models_text(side.gpus)})" if side.gpus else figure_text(memory)


def models_text(gpus: Sequence[NodeGpu]) -> str:
    """Count the models: `2 x RTX 5070 Ti`, `RTX 5090 + RTX 4090`."""
    titles = [gpu.title for gpu in gpus]
    counts = {title: titles.count(title) for title in dict.fromkeys(titles)}
    return " + ".join(model if count == 1 else f"{count} x {model}" for model, count in counts.items())
