"""Power and heat of the machines that change, and what to make sure of: done only when the cluster file proves it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from corral.cluster.values import Cluster, Node
from corral.figures import Figure
from corral.hardware.power import NodePower, Verdict, compute_power, find_models
from corral.hardware.power.supply import EXCURSION_CARRIED, HIGHEST_SUSTAINED, OLD_STANDARD, STANDARD_SIZES_W
from corral.hardware.power.values import RAILS, WIRING
from corral.planning.upgrade.differences import ABSENT, UNKNOWN, Difference, change_text, figure_text, format_number
from corral.planning.upgrade.hardware import Hardware, NodeComparison, NodeGpu, list_gpus

_RAIL_V = 12
TGP = "GPU power"
MACHINE = "Whole machine, estimated"
RECOMMENDED = "Recommended power supply"
WALL = "Whole machine at the wall"
HEAT = "Heat into the room"
ENERGY = "Energy of a night"
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
    """Compare the power of every machine whose GPUs or power supply change."""
    old = {node.name: node for node in before.nodes}
    new = {node.name: node for node in after.nodes}
    return tuple(
        _compare(
            node,
            _work_out_power(old.get(node.name), before),
            _work_out_power(new.get(node.name), after),
            new.get(node.name),
        )
        for node in hardware.nodes
        if node.gpus_change or _find_supply(old.get(node.name)) != _find_supply(new.get(node.name))
    )


def _find_supply(node: Node | None) -> tuple[object, ...]:
    if node is None:
        return ()
    facts = (node.psu_standard, node.psu_efficiency, node.psu_rails, node.line, node.ups_w)
    return (node.psu_w, node.other_power_w, *facts)


def _work_out_power(node: Node | None, cluster: Cluster) -> NodePower | None:
    if node is None:
        return None
    return compute_power(node, find_models([node]), electricity=cluster.electricity, night=cluster.night)


def _compare(
    comparison: NodeComparison, before: NodePower | None, after: NodePower | None, node: Node | None
) -> PowerComparison:
    return PowerComparison(
        node=comparison.name,
        before=before,
        after=after,
        rows=tuple(_list_rows(before, after)),
        sources=_list_sources(before, after),
        actions=() if after is None or node is None else tuple(_list_actions(comparison, after, node)),
    )


def _list_rows(before: NodePower | None, after: NodePower | None) -> list[Difference]:
    absent = {"no_before": UNKNOWN if before else ABSENT, "no_after": UNKNOWN if after else ABSENT}

    def row(name: str, old: Figure | None, new: Figure | None) -> Difference:
        return Difference(name=name, before=old, after=new, **absent)

    full, now = before.full if before else None, after.full if after else None
    rows = [
        row(TGP, full and full.gpus, now and now.gpus),
        row(MACHINE, full and full.system, now and now.system),
        _compare_recommended(before, after),
        row("Power supply in the file", before and before.psu, after and after.psu),
        row("Load of that supply", full and full.psu_load, now and now.psu_load),
        row(WALL, full and full.wall, now and now.wall),
        row("Current at 12 V, GPUs", full and full.gpu_current, now and now.gpu_current),
        row("Peak for about 1 ms", full and full.peak, now and now.peak),
        row(HEAT, full and full.heat, now and now.heat),
        row(ENERGY, full and full.energy, now and now.energy),
        row("Cost of a night", full and full.cost, now and now.cost),
    ]
    if (before and before.limited) or (after and after.limited):
        old, new = (entry and (entry.limited or entry.full) for entry in (before, after))
        rows += [
            row("GPUs" + _BY_LIMITS, old and old.gpus, new and new.gpus),
            row(LIMITED, old and old.system, new and new.system),
            row(WALL + _BY_LIMITS, old and old.wall, new and new.wall),
            row(HEAT_LIMITED, old and old.heat, new and new.heat),
            row(ENERGY + _BY_LIMITS, old and old.energy, new and new.energy),
            row("Cost of a night" + _BY_LIMITS, old and old.cost, new and new.cost),
        ]
    return [difference for difference in rows if difference.before or difference.after]


def _compare_recommended(before: NodePower | None, after: NodePower | None) -> Difference:
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


def _list_sources(before: NodePower | None, after: NodePower | None) -> tuple[tuple[str, Figure], ...]:
    gpus = [gpu for power in (before, after) if power for gpu in power.gpus]
    return tuple({gpu.model: (gpu.model, gpu.tgp) for gpu in gpus if gpu.model and gpu.tgp}.values())


def _list_actions(comparison: NodeComparison, power: NodePower, node: Node) -> list[ActionItem]:
    wires = [*_check_rails(power), *_check_connectors(power)]
    actions = [_check_supply(power), _check_rail(power), *_check_transients(power, node), *wires]
    if comparison.after and len(comparison.after.gpus) > 1:
        actions += [_check_airflow(comparison), _check_spacing(power)]
    return [*actions, _check_limit(node)]


def _check_supply(power: NodePower) -> ActionItem:
    asked = recommended_text(power)
    what = f"Power supply of at least {asked}" if power.recommended_psu else "A power supply for this load"
    if asked == NO_SINGLE_SUPPLY:
        what = f"A power supply for this load: {asked}"
    if power.psu is None:
        return ActionItem(what=what, state=ItemState.OPEN, evidence="the file does not say what is built in")
    if any(judgement.verdict is Verdict.NOT_ENOUGH for judgement in power.judgements):
        evidence = "; ".join(
            judgement.what for judgement in power.judgements if judgement.verdict is Verdict.NOT_ENOUGH
        )
        return ActionItem(what=what, state=ItemState.FAILED, evidence=evidence)
    enough = power.recommended_psu is not None and power.psu.value >= power.recommended_psu.value
    return ActionItem(
        what=what,
        state=ItemState.PROVEN if enough else ItemState.OPEN,
        evidence=f"{'confirmed: ' if enough else ''}{figure_text(power.psu)} in the file",
    )


def _check_rail(power: NodePower) -> ActionItem:
    what = f"12 V rail of {figure_text(power.full.gpu_current)} for the GPUs"
    if power.psu is None:
        return ActionItem(what=what, state=ItemState.OPEN, evidence="the file does not say what is built in")
    rail = power.psu.value / _RAIL_V
    enough = rail >= power.full.system_current.value
    needed = figure_text(power.full.system_current)
    evidence = (
        f"{figure_text(power.psu)} / {_RAIL_V} V = {format_number(rail)} A on one rail, {needed} for the whole machine"
    )
    return ActionItem(what=what, state=ItemState.PROVEN if enough else ItemState.FAILED, evidence=evidence)


def _check_transients(power: NodePower, node: Node) -> list[ActionItem]:
    if power.psu is None or power.full.peak.value <= power.psu.value:
        return []
    what, peaks = "A supply of ATX 3.0 or newer", f"peaks can reach {figure_text(power.full.peak)}"
    if node.psu_standard is None:
        evidence = f"{peaks}; the file does not say which standard the supply is made to"
        return [ActionItem(what=what, state=ItemState.OPEN, evidence=evidence)]
    state = ItemState.FAILED if node.psu_standard == OLD_STANDARD else ItemState.PROVEN
    return [ActionItem(what=what, state=state, evidence=f"{peaks}; the file says {node.psu_standard}")]


def _check_rails(power: NodePower) -> list[ActionItem]:
    return [
        ActionItem(what="One 12 V rail for the GPUs", state=ItemState.OPEN, evidence=judgement.what)
        for judgement in power.judgements
        if judgement.about in (WIRING, RAILS) and judgement.verdict is not Verdict.OK
    ]


def _check_connectors(power: NodePower) -> list[ActionItem]:
    return [
        ActionItem(what="Power connectors", state=ItemState.OPEN, evidence=f"{judgement.what} ({judgement.reason})")
        for judgement in power.judgements
        if judgement.about == "connectors" and judgement.verdict is not Verdict.OK
    ]


def _check_airflow(comparison: NodeComparison) -> ActionItem:
    change = change_text(comparison.tgp)
    return ActionItem(
        what="Airflow of the case",
        state=ItemState.OPEN,
        evidence=f"{figure_text(comparison.tgp.after)} of GPUs ({change}); no file shows it, the load test does",
    )


def _check_spacing(power: NodePower) -> ActionItem:
    width = f"{figure_text(power.slots)} in all ({power.slots.source})" if power.slots else "their width is not known"
    return ActionItem(what="A free slot between the GPUs", state=ItemState.OPEN, evidence=width)


def _check_limit(node: Node) -> ActionItem:
    steps = [_set_limit(gpu, gpu.power_limit_w) for gpu in list_gpus(node) if gpu.power_limit_w is not None]
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


def _set_limit(gpu: NodeGpu, watts: float) -> str:
    if gpu.is_nvidia:
        return f"`nvidia-smi -i {gpu.index} -pl {watts:g}`"
    return f"{watts:g} W on GPU {gpu.index} with its driver's tool"
