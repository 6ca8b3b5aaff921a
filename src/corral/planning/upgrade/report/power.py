"""Part 1 of the report: power and heat."""

from __future__ import annotations

from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import change_text, figure_text
from corral.planning.upgrade.power import HEAT, MACHINE, ActionItem, ItemState, PowerComparison
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
    return [
        f"At full load {figure_text(draw.after)} become {figure_text(heat.after)} in the room ({change_text(heat)})."
    ]


def _action(item: ActionItem) -> tuple[bool, str]:
    failed = "**not so**: " if item.state is ItemState.FAILED else ""
    return item.state is ItemState.PROVEN, f"{item.what}: {failed}{item.evidence}"
