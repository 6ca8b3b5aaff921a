"""The executive summary: verdict, changes, both sides as trees, totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

from corral.figures import Figure
from corral.planning.upgrade.advice import Weight
from corral.planning.upgrade.cards import Card
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import ABSENT, UNKNOWN, Difference, amount, change_text, figure_text
from corral.planning.upgrade.hardware import CardChange, CardChangeKind, NodeComparison, Side
from corral.planning.upgrade.power import MACHINE, RECOMMENDED, TGP
from corral.planning.upgrade.report.pieces import bullets, code, paragraph, table

_MOST_NODES = 12
"""Unchanged nodes of a larger cluster are told as one row of the totals."""
_GAP = 3


def title(upgrade: Upgrade) -> str:
    """Name the report by what changes: `Upgrade of hydra: hydra-compute/gpu1 becomes RTX 5070 Ti`."""
    cards = [change for change in upgrade.hardware.changes if change.kind is not CardChangeKind.LIMITED]
    if len(cards) == 1:
        return f"Upgrade of {upgrade.after.name}: {change_sentence(cards[0])}"
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
    rows = [(one.name, one.before_text, one.after_text, change_text(one)) for one in _key_figures(upgrade)]
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
    for one in upgrade.power:
        found = (one.row(name) for name in (TGP, MACHINE, RECOMMENDED))
        rows += [replace(row, name=f"{row.name}, {one.node}") for row in found if row is not None]
    return rows + [one.per_night for one in upgrade.findings.throughput if one.per_night.after is not None]


def change_sentence(change: CardChange) -> str:
    """Say what happens at one place."""
    if change.kind is CardChangeKind.LIMITED:
        limits = [card.power_limit_w if card else None for card in (change.before, change.after)]
        old, new = ("no power limit" if limit is None else f"{limit} W" for limit in limits)
        return f"{change.place}: {old} → {new}"
    if change.before is not None and change.kind in (CardChangeKind.MOVED, CardChangeKind.RENUMBERED):
        return f"{change.place}: was {change.before.name}, {card_text(change.before)}"
    if change.before is None and change.after is not None:
        return f"{change.place}: new, {card_text(change.after)}"
    if change.after is None and change.before is not None:
        return f"{change.place}: gone, {card_text(change.before)}"
    before, after = (card_text(card) if card else "" for card in (change.before, change.after))
    return f"{change.place}: {before} → {after}"


def card_text(card: Card) -> str:
    """Write a card with its memory and power limit: `RTX 5070 Ti (16 GiB, limit 250 W)`."""
    facts = [UNKNOWN + " VRAM" if card.memory is None else amount(card.memory, "B")]
    if card.power_limit_w is not None:
        facts.append(f"limit {card.power_limit_w} W")
    return f"{card.title} ({', '.join(facts)})"


def _trees(upgrade: Upgrade, node: NodeComparison) -> list[str]:
    words = next(one for one in upgrade.complexity if one.node == node.name)
    left = _tree("BEFORE", node, node.before, words.before)
    right = _tree("AFTER", node, node.after, words.after)
    width = max(len(line) for line in left) + _GAP
    return [f"{old.ljust(width)}{new}".rstrip() for old, new in zip_longest(left, right, fillvalue="")]


def _tree(heading: str, node: NodeComparison, side: Side | None, words: str) -> list[str]:
    before = heading == "BEFORE"
    memory = node.memory.before if before else node.memory.after
    tgp = node.tgp.before if before else node.tgp.after
    cards = side.cards if side else ()
    lines = [heading, node.name if side else f"({node.name} is not there)"]
    for place, card in enumerate(cards):
        branch = "└──" if place == len(cards) - 1 else "├──"
        architecture = f" {card.facts.architecture}" if card.facts and card.facts.architecture else ""
        lines.append(f"{branch} gpu{card.index} {card_text(card)}{architecture}")
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
    before, after = (figure_text(one) for one in (hardware.memory.before, hardware.memory.after))
    rows.append(("**Total**", f"**{before}**", f"**{after}**", f"**{change_text(hardware.memory)}**"))
    return table(("Node", "VRAM before", "VRAM after", "Change"), rows)


def _change(node: NodeComparison) -> str:
    if node.before is None or node.after is None:
        return "new node" if node.before is None else "gone"
    return change_text(node.memory)


def _side_text(memory: Figure | None, side: Side | None) -> str:
    if side is None:
        return "-"
    return f"{figure_text(memory)} ({models_text(side.cards)})" if side.cards else figure_text(memory)


def models_text(cards: Sequence[Card]) -> str:
    """Count the models: `2 x RTX 5070 Ti`, `RTX 5090 + RTX 4090`."""
    titles = [card.title for card in cards]
    counts = {one: titles.count(one) for one in dict.fromkeys(titles)}
    return " + ".join(one if count == 1 else f"{count} x {one}" for one, count in counts.items())
