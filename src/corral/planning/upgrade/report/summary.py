"""The nodes before and after: both sides as trees, and the totals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from corral.figures import Figure
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import ABSENT, UNKNOWN, change_text, figure_text
from corral.planning.upgrade.gpus import NodeGpu
from corral.planning.upgrade.hardware import NodeComparison, Side
from corral.planning.upgrade.report.front_page import describe_gpu
from corral.planning.upgrade.report.pieces import code, table

_MOST_NODES = 12
"""Unchanged nodes of a larger cluster are one row of the totals."""
_GAP = 3


def summary(upgrade: Upgrade) -> list[str]:
    """Write the nodes before and after, and their totals."""
    lines = ["## Before and after", ""]
    for node in upgrade.hardware.changed:
        lines += code("text", "\n".join(_trees(upgrade, node)))
    lines += ["### Cluster totals", "", *_totals(upgrade)]
    return lines


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
        lines.append(f"{branch} gpu{gpu.index} {describe_gpu(gpu)}{architecture}")
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
