"""Part 1 of the report: power and heat."""

from __future__ import annotations

from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import Difference, change_text, figure_text
from corral.planning.upgrade.power import HEAT, HEAT_LIMITED, LIMITED, MACHINE, ActionItem, ItemState, PowerComparison
from corral.planning.upgrade.report.pieces import bullets, checkboxes, differences, paragraph, table


def power(upgrade: Upgrade) -> list[str]:
    """Write Part 1."""
    lines = ["## Part 1: Power and heat", ""]
    if not upgrade.power:
        return [*lines, *paragraph("No GPU changes, and no power limit.")]
    for machine in upgrade.power:
        lines += _node(machine)
    return lines


def _node(machine: PowerComparison) -> list[str]:
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
        *bullets([*_heat(machine), *machine.after.advice, *machine.after.unknown]),
    ]
    return [*lines, f"### Action items for {machine.node}", "", *checkboxes(map(_action, machine.actions))]


def _heat(machine: PowerComparison) -> list[str]:
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
