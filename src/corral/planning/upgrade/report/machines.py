"""The machines of the report: the nodes before and after as trees, the totals, and Part 1, power and heat."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from corral.figures import Figure
from corral.hardware.power import NodePower
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import ABSENT, UNKNOWN, Difference, change_text, figure_text
from corral.planning.upgrade.hardware import NodeComparison, NodeGpu, Side
from corral.planning.upgrade.power import HEAT, HEAT_LIMITED, LIMITED, MACHINE, ActionItem, ItemState, PowerComparison
from corral.planning.upgrade.report.front_page import describe_gpu
from corral.planning.upgrade.report.pieces import bullets, checkboxes, code, differences, paragraph, table

_MOST_NODES = 12
"""Unchanged nodes of a larger cluster are one row of the totals."""
_GAP = 3


def write_summary(upgrade: Upgrade) -> list[str]:
    """Write the nodes before and after, and their totals."""
    lines = ["## Before and after", ""]
    for node in upgrade.hardware.changed:
        lines += code("text", "\n".join(_write_trees(upgrade, node)))
    lines += ["### Cluster totals", "", *_write_totals(upgrade)]
    return lines


def _write_trees(upgrade: Upgrade, node: NodeComparison) -> list[str]:
    words = next(comparison for comparison in upgrade.complexity if comparison.node == node.name)
    left = _write_tree("BEFORE", node, node.before, words.before)
    right = _write_tree("AFTER", node, node.after, words.after)
    width = max(len(line) for line in left) + _GAP
    return [f"{old.ljust(width)}{new}".rstrip() for old, new in zip_longest(left, right, fillvalue="")]


def _write_tree(heading: str, node: NodeComparison, side: Side | None, words: str) -> list[str]:
    before = heading == "BEFORE"
    memory = node.memory.before if before else node.memory.after
    tgp = node.tgp.before if before else node.tgp.after
    gpus = side.gpus if side else ()
    lines = [heading, node.name if side else f"({node.name} is not there)"]
    for index, gpu in enumerate(gpus):
        branch = "└──" if index == len(gpus) - 1 else "├──"
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


def _write_totals(upgrade: Upgrade) -> list[str]:
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


def write_power(upgrade: Upgrade) -> list[str]:
    """Write Part 1."""
    lines = ["## Part 1: Power and heat", ""]
    if not upgrade.power:
        return [*lines, *paragraph("No GPU changes, and no power limit.")]
    for machine in upgrade.power:
        lines += _write_node(machine)
    return lines


def _write_node(machine: PowerComparison) -> list[str]:
    lines = [f"### Power of {machine.node}", "", *differences(machine.rows)]
    lines += ["**Sources**", "", *bullets(f"{figure_text(tgp)} TGP, {tgp.source}" for _, tgp in machine.sources)]
    if machine.after is None:
        return [*lines, *paragraph(f"{machine.node} is not in the cluster any more.")]
    lines += ["**Judgement**", ""]
    lines += table(
        ("", "Verdict", "Finding", "Rule"),
        ((judged.about, judged.verdict.value, judged.what, judged.reason) for judged in machine.after.judgements),
    )
    lines += [
        f"### Heat of {machine.node}",
        "",
        *bullets([*_write_heat(machine), *machine.after.advice, *machine.after.unknown]),
    ]
    lines += _write_undervolt(machine.after)
    return [*lines, f"### Action items for {machine.node}", "", *checkboxes(map(_action, machine.actions))]


def _write_undervolt(power: NodePower) -> list[str]:
    """Explain what an undervolt is next to a limit, where a GPU takes either (pitfall C03; NVML's API reference)."""
    commands = [command for gpu in power.gpus if (command := gpu.clock_command) is not None]
    if not commands:
        return []
    return paragraph(
        "A power limit caps the mean draw: under it, clock and voltage fall together, and peaks of a millisecond stay. "
        f"Locked clocks ({', '.join(commands)}) keep a GPU below a point of its own voltage curve, so that voltage and "
        "peaks fall, too, at the price of the clocks above. An undervolt moves that curve: the same clock at less "
        "voltage, set as a clock offset (NVML, `nvmlDeviceSetClockOffsets`) together with locked clocks. How far it "
        "goes is each GPU's own, and only a load test shows it. None of the three outlives a restart of the driver "
        "(C01, C03)."
    )


def _write_heat(machine: PowerComparison) -> list[str]:
    heat, draw = machine.row(HEAT), machine.row(MACHINE)
    if heat is None or draw is None:
        return []
    notes = [f"At full load {draw.after_text} become {heat.after_text} in the room{_by(heat)}."]
    limited, limited_heat = machine.row(LIMITED), machine.row(HEAT_LIMITED)
    if limited is not None and limited_heat is not None:
        text = f"With the limits of the file {limited.after_text} become {limited_heat.after_text}{_by(limited_heat)}."
        notes.append(text)
    if machine.after is not None and machine.after.full.cost is None:
        notes.append("The cost of a night is unknown: the cluster file has no `electricity` with a price.")
    return notes


def _by(row: Difference) -> str:
    return "" if row.change is None else f" ({change_text(row)})"


def _action(item: ActionItem) -> tuple[bool, str]:
    failed = "**not so**: " if item.state is ItemState.FAILED else ""
    return item.state is ItemState.PROVEN, f"{item.what}: {failed}{item.evidence}"
