"""Power and heat of the machines that change, and what to make sure of: done only when the cluster file proves it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from corral.cluster.values import Cluster, Node
from corral.figures import Figure
from corral.hardware.power import NodePower, Verdict, models_of, power_of
from corral.hardware.power.draw import EXCURSION_CARRIED
from corral.hardware.power.supply import HIGHEST_SUSTAINED, STANDARD_SIZES_W
from corral.planning.upgrade.cards import Card, cards_of
from corral.planning.upgrade.differences import ABSENT, UNKNOWN, Difference, change_text, figure_text, number
from corral.planning.upgrade.hardware import Hardware, NodeComparison

_RAIL_V = 12
TGP = "GPU power"
MACHINE = "Whole machine, estimated"
RECOMMENDED = "Recommended power supply"
HEAT = "Heat into the room"
_BY_LIMITS = " with the limits of the file"
LIMITED = "Whole machine" + _BY_LIMITS
HEAT_LIMITED = HEAT + _BY_LIMITS
NO_SINGLE_SUPPLY = f"no single supply ({max(STANDARD_SIZES_W):,} W is the largest)"


class ItemState(StrEnum):
    """Whether something that has to be done is known to be done."""

    PROVEN = "proven"
    OPEN = "open"
    FAILED = "failed"
    """The cluster file proves that it is not so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionItem:
    """Something to make sure of."""

    what: str
    state: ItemState
    evidence: str
    """What proves it, or what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerComparison:
    """One machine; None where it is not there."""

    node: str
    before: NodePower | None
    after: NodePower | None
    rows: tuple[Difference, ...]
    sources: tuple[tuple[str, Figure], ...]
    """Each model and its TGP, from the catalogue."""
    actions: tuple[ActionItem, ...]

    def row(self, name: str) -> Difference | None:
        """Find a quantity by its name; None when neither side knows it."""
        return next((row for row in self.rows if row.name == name), None)


def compare_power(before: Cluster, after: Cluster, hardware: Hardware) -> tuple[PowerComparison, ...]:
    """Compare the power of every machine whose cards or power supply change."""
    old = {node.name: node for node in before.nodes}
    new = {node.name: node for node in after.nodes}
    return tuple(
        _compare(node, _power(old.get(node.name), before), _power(new.get(node.name), after), new.get(node.name))
        for node in hardware.nodes
        if node.cards_change or _supply_of(old.get(node.name)) != _supply_of(new.get(node.name))
    )


def _supply_of(node: Node | None) -> tuple[int | None, int | None]:
    return (None, None) if node is None else (node.psu_w, node.other_power_w)


def _power(node: Node | None, cluster: Cluster) -> NodePower | None:
    if node is None:
        return None
    return power_of(node, models_of([node]), electricity=cluster.electricity, night=cluster.night)


def _compare(
    comparison: NodeComparison, before: NodePower | None, after: NodePower | None, node: Node | None
) -> PowerComparison:
    return PowerComparison(
        node=comparison.name,
        before=before,
        after=after,
        rows=tuple(_rows(before, after)),
        sources=_sources(before, after),
        actions=() if after is None or node is None else tuple(_actions(comparison, after, node)),
    )


def _rows(before: NodePower | None, after: NodePower | None) -> list[Difference]:
    absent = {"no_before": UNKNOWN if before else ABSENT, "no_after": UNKNOWN if after else ABSENT}

    def row(name: str, old: Figure | None, new: Figure | None) -> Difference:
        return Difference(name=name, before=old, after=new, **absent)

    full, now = before.full if before else None, after.full if after else None
    rows = [
        row(TGP, full and full.gpus, now and now.gpus),
        row(MACHINE, full and full.system, now and now.system),
        _recommended(before, after),
        row("Power supply in the file", before and before.psu, after and after.psu),
        row("Load of that supply", full and full.psu_load, now and now.psu_load),
        row("Current at 12 V, GPUs", full and full.gpu_current, now and now.gpu_current),
        row("Peak for about 1 ms", full and full.peak, now and now.peak),
        row(HEAT, full and full.heat, now and now.heat),
        row("Energy of a night", full and full.energy, now and now.energy),
        row("Cost of a night", full and full.cost, now and now.cost),
    ]
    if (before and before.limited) or (after and after.limited):
        old, new = (one and (one.limited or one.full) for one in (before, after))
        rows += [
            row("GPUs" + _BY_LIMITS, old and old.gpus, new and new.gpus),
            row(LIMITED, old and old.system, new and new.system),
            row(HEAT_LIMITED, old and old.heat, new and new.heat),
            row("Energy of a night" + _BY_LIMITS, old and old.energy, new and new.energy),
            row("Cost of a night" + _BY_LIMITS, old and old.cost, new and new.cost),
        ]
    return [one for one in rows if one.before or one.after]


def _recommended(before: NodePower | None, after: NodePower | None) -> Difference:
    return Difference(
        name=RECOMMENDED,
        before=before and before.recommended_psu,
        after=after and after.recommended_psu,
        no_before=recommended_text(before) if before else ABSENT,
        no_after=recommended_text(after) if after else ABSENT,
    )


def recommended_text(power: NodePower) -> str:
    """Write the advised power supply: `850 W`; where none is large enough, that."""
    least_w = max(power.full.system.value / HIGHEST_SUSTAINED, power.full.peak.value / EXCURSION_CARRIED)
    if power.recommended_psu is None and least_w > max(STANDARD_SIZES_W):
        return NO_SINGLE_SUPPLY
    return figure_text(power.recommended_psu)


def _sources(before: NodePower | None, after: NodePower | None) -> tuple[tuple[str, Figure], ...]:
    cards = [card for power in (before, after) if power for card in power.cards]
    return tuple({card.model: (card.model, card.tgp) for card in cards if card.model and card.tgp}.values())


def _actions(comparison: NodeComparison, power: NodePower, node: Node) -> list[ActionItem]:
    actions = [_supply(power), _rail(power), *_transients(power), *_connectors(power)]
    if comparison.after and len(comparison.after.cards) > 1:
        actions += [_airflow(comparison), _spacing(power)]
    return [*actions, _limit(node)]


def _supply(power: NodePower) -> ActionItem:
    asked = recommended_text(power)
    what = f"Power supply of at least {asked}" if power.recommended_psu else "A power supply for this load"
    if asked == NO_SINGLE_SUPPLY:
        what = f"A power supply for this load: {asked}"
    if power.psu is None:
        return ActionItem(what=what, state=ItemState.OPEN, evidence="the file does not say what is built in")
    if any(one.verdict is Verdict.NOT_ENOUGH for one in power.judgements):
        told = "; ".join(one.what for one in power.judgements if one.verdict is Verdict.NOT_ENOUGH)
        return ActionItem(what=what, state=ItemState.FAILED, evidence=told)
    enough = power.recommended_psu is not None and power.psu.value >= power.recommended_psu.value
    return ActionItem(
        what=what,
        state=ItemState.PROVEN if enough else ItemState.OPEN,
        evidence=f"{'confirmed: ' if enough else ''}{figure_text(power.psu)} in the file",
    )


def _rail(power: NodePower) -> ActionItem:
    what = f"12 V rail of {figure_text(power.full.gpu_current)} for the GPUs"
    if power.psu is None:
        return ActionItem(what=what, state=ItemState.OPEN, evidence="the file does not say what is built in")
    rail = power.psu.value / _RAIL_V
    enough = rail >= power.full.system_current.value
    needed = figure_text(power.full.system_current)
    told = f"{figure_text(power.psu)} / {_RAIL_V} V = {number(rail)} A on one rail, {needed} for the whole machine"
    return ActionItem(what=what, state=ItemState.PROVEN if enough else ItemState.FAILED, evidence=told)


def _transients(power: NodePower) -> list[ActionItem]:
    if power.psu is None or power.full.peak.value <= power.psu.value:
        return []
    told = f"peaks may reach {figure_text(power.full.peak)}; the file does not say which standard the supply is made to"
    return [ActionItem(what="A supply of ATX 3.0 or newer", state=ItemState.OPEN, evidence=told)]


def _connectors(power: NodePower) -> list[ActionItem]:
    return [
        ActionItem(what="Power connectors", state=ItemState.OPEN, evidence=f"{one.what} ({one.reason})")
        for one in power.judgements
        if one.about == "connectors" and one.verdict is not Verdict.OK
    ]


def _airflow(comparison: NodeComparison) -> ActionItem:
    change = change_text(comparison.tgp)
    return ActionItem(
        what="Airflow of the case",
        state=ItemState.OPEN,
        evidence=f"{figure_text(comparison.tgp.after)} of GPUs ({change}); no file shows it, the load test does",
    )


def _spacing(power: NodePower) -> ActionItem:
    width = f"{figure_text(power.slots)} in all ({power.slots.source})" if power.slots else "their width is not known"
    return ActionItem(what="A free slot between the cards", state=ItemState.OPEN, evidence=width)


def _limit(node: Node) -> ActionItem:
    steps = [_set_limit(card, card.power_limit_w) for card in cards_of(node) if card.power_limit_w is not None]
    if not steps:
        return ActionItem(
            what="Power limit, if heat or noise asks for one",
            state=ItemState.OPEN,
            evidence="none in the file; `--limit node=WATTS` shows what it changes",
        )
    return ActionItem(
        what="Apply the power limits of the file, at each start of the machine",
        state=ItemState.OPEN,
        evidence=f"{', '.join(steps)}; a limit does not outlive a restart (pitfalls C01)",
    )


def _set_limit(card: Card, watts: float) -> str:
    if card.is_nvidia:
        return f"`nvidia-smi -i {card.index} -pl {watts:g}`"
    return f"{watts:g} W on GPU {card.index} with its driver's tool"
