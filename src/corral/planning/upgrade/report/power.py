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
        return [*lines, *paragraph("No card changes, and no power limit.")]
    for one in upgrade.power:
        lines += _node(one)
    return lines


def _node(one: PowerComparison) -> list[str]:
    lines = [f"### Power of {one.node}", "", *differences(one.rows)]
    lines += ["**Sources**", "", *bullets(f"{figure_text(tgp)} TGP, {tgp.source}" for _, tgp in one.sources)]
    if one.after is None:
        return [*lines, *paragraph(f"{one.node} is not in the cluster any more.")]
    lines += ["**Judgement**", ""]
    lines += table(
        ("", "Verdict", "Finding", "Rule"),
        ((judged.about, judged.verdict.value, judged.what, judged.reason) for judged in one.after.judgements),
    )
    lines += [f"### Heat of {one.node}", "", *bullets([*_heat(one), *one.after.advice, *one.after.unknown])]
    return [*lines, f"### Action items for {one.node}", "", *checkboxes(map(_action, one.actions))]


def _heat(one: PowerComparison) -> list[str]:
    heat, draw = one.row(HEAT), one.row(MACHINE)
    if heat is None or draw is None:
        return []
    told = [f"At full load {draw.after_text} become {heat.after_text} in the room{_by(heat)}."]
    limited, limited_heat = one.row(LIMITED), one.row(HEAT_LIMITED)
    if limited is not None and limited_heat is not None:
        text = f"With the limits of the file {limited.after_text} become {limited_heat.after_text}{_by(limited_heat)}."
        told.append(text)
    if one.after is not None and one.after.full.cost is None:
        told.append("What a night costs is unknown: the cluster file has no `electricity` with a price.")
    return told


def _by(row: Difference) -> str:
    return "" if row.change is None else f" ({change_text(row)})"


def _action(item: ActionItem) -> tuple[bool, str]:
    failed = "**not so**: " if item.state is ItemState.FAILED else ""
    return item.state is ItemState.PROVEN, f"{item.what}: {failed}{item.evidence}"
