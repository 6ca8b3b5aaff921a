"""Figures as people read them: rounded, with their unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corral.figures import Figure
    from corral.hardware.power import Draw, NodePower

_WHOLE_FROM = 100
"""From here on decimals say nothing."""


def amount(figure: Figure | None) -> str:
    """Write a figure with at most two decimals: `2,559 BTU/h`, `39.2 A`; empty when there is none."""
    if figure is None:
        return ""
    digits = 0 if abs(figure.value) >= _WHOLE_FROM else 1 if abs(figure.value) >= _WHOLE_FROM / 10 else 2
    number = f"{figure.value:,.{digits}f}"
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return f"{number} {figure.unit}".rstrip()


def _bare(figure: Figure) -> str:
    return amount(figure).removesuffix(f" {figure.unit}")


def power_columns(node: NodePower) -> dict[str, str]:
    """Make the row of a node.

    `>=` marks a sum that lacks a card, `~` one that rests on an assumption, `->` what the file's limits make of it.
    """
    from corral.figures import Origin

    lacking = ">=" if node.unknown else ""
    guessed = lacking or ("~" if node.other.origin is Origin.ASSUMED else "")
    limited = node.limited
    gpus = "" if limited is None else f" -> {amount(limited.gpus)}"
    system = "" if limited is None else f" -> {amount(limited.system)}"
    return {
        "node": node.node,
        "GPUs": lacking + amount(node.full.gpus) + gpus,
        "system": guessed + amount(node.full.system) + system,
        "PSU": amount(node.psu) or "unknown",
        "load": "" if node.full.psu_load is None else guessed + amount(node.full.psu_load),
        "advised": lacking + amount(node.recommended_psu) if node.recommended_psu else "",
        "12 V, GPUs/all": f"{lacking}{_bare(node.full.gpu_current)}/{guessed}{amount(node.full.system_current)}",
        "heat": guessed + amount(node.full.heat),
        "night": guessed + amount(node.full.energy),
        "cost": "" if node.full.cost is None else guessed + amount(node.full.cost),
        "verdict": node.verdict.value,
    }


def power_figures(node: NodePower) -> Iterator[tuple[str, Figure]]:
    """Walk over every number that is known about the power of a node, with its name."""
    for card in node.cards:
        name = f"GPU {card.index} {card.model or ''}".rstrip()
        parts = (("power", card.tgp), ("limit", card.limit), ("slots", card.slots), ("length", card.length))
        yield from ((f"{name}: {part}", figure) for part, figure in parts if figure)
        yield from ((f"{name}: speed lost to the limit", loss) for loss in card.speed_losses)
    alone = (
        ("besides the GPUs", node.other),
        ("PSU", node.psu),
        ("advised PSU", node.recommended_psu),
        ("catalogue's PSU for one card", node.catalogue_psu),
        ("slots", node.slots),
    )
    yield from ((name, figure) for name, figure in alone if figure)
    yield from _draw_figures(node.full, "")
    if node.limited is not None:
        yield from _draw_figures(node.limited, ", limited")


def _draw_figures(draw: Draw, suffix: str) -> Iterator[tuple[str, Figure]]:
    parts = (
        ("GPUs", draw.gpus),
        ("system", draw.system),
        ("load of the PSU", draw.psu_load),
        ("12 V, GPUs", draw.gpu_current),
        ("12 V, system", draw.system_current),
        ("peak of about 1 ms", draw.peak),
        ("margin over that peak", draw.margin),
        ("heat", draw.heat),
        ("energy of a night", draw.energy),
        ("cost of a night", draw.cost),
    )
    yield from ((name + suffix, figure) for name, figure in parts if figure)
