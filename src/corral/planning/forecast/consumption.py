"""The power that a night takes, and its cost, by the hours in which power has another price.

A GPU that works draws what it was measured to draw in tasks that have ended, where they are asked; else what its maker
or its limit allows, which is the most that it can: then the figure is an upper bound for the GPU. The draw of an idle
GPU is in no catalogue, and is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from corral.cluster.prices import Electricity
from corral.cluster.values import Cluster, Node
from corral.figures import Figure, Origin, computed
from corral.hardware.power import compute_power, find_models
from corral.scheduling.simulator import Outcome, Watts
from corral.scheduling.simulator.values import Run, Trace
from corral.scheduling.values import Place
from corral.work import SlotId

_WH = 1000
_MOST_NAMES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumption:
    """A night's electricity; None where a GPU's power is unknown or there is no tariff."""

    energy: Figure | None
    energy_each: Figure | None
    cost_each: Figure | None
    unknown: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """The watts of some slots and of the machines that they are in."""

    gpus: Mapping[SlotId, Watts]
    machines: Mapping[str, Figure]
    efficiency: Figure | None
    """% of the supply that loses the most, at full load; None without a machine."""
    unknown: tuple[str, ...]


def look_up_power(cluster: Cluster, slots: tuple[Place, ...], measured: Mapping[SlotId, float]) -> Power:
    """Look up what the GPUs of these slots draw, and the rest of their nodes; `measured` watts go first."""
    gpus: dict[SlotId, Watts] = {}
    machines: dict[str, Figure] = {}
    efficiencies: list[Figure] = []
    nodes = [node for node in cluster.nodes if any(slot.node == node.name for slot in slots)]
    models = find_models(nodes)
    for node in nodes:
        power = compute_power(node, models, electricity=cluster.electricity, night=cluster.night)
        machines[node.name] = power.other
        efficiencies.append((power.limited or power.full).efficiency)
        for gpu in power.gpus:
            slot = _name_slot(node, gpu.index)
            if slot in measured:
                gpus[slot] = Watts(busy=measured[slot])
            elif drawn := gpu.limit or gpu.tgp:
                gpus[slot] = Watts(busy=drawn.value)
    lacking = [slot.id for slot in slots if slot.id not in gpus]
    unknown = (f"energy: the draw of {', '.join(lacking)} is unknown",) if lacking else ()
    least = min(efficiencies, key=lambda figure: figure.value, default=None)
    return Power(gpus=gpus, machines=machines, efficiency=least, unknown=unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The price of a kilowatt hour in a night, on average over the energy that is taken in it."""

    value: float
    formula: str


def find_price(
    cluster: Cluster, trace: Trace, run: Run, power: Power, window_s: float, *, start: datetime
) -> Price | None:
    """Weigh the prices of a tariff by the energy of each part of the night; None without a price."""
    tariff = cluster.electricity
    if tariff is None:
        return None
    if not tariff.tariff:
        return Price(value=tariff.price_per_kwh, formula=f"{tariff.price_per_kwh:g} {tariff.currency}/kWh")
    others = sum(figure.value for figure in power.machines.values())
    cost = energy = 0.0
    for from_s, until_s in pairwise(_list_bounds(tariff, start, window_s)):
        price = tariff.find_price(start + timedelta(seconds=from_s))
        joules = others * (until_s - from_s) + sum(
            max(0.0, min(span.until_s, until_s) - max(span.from_s, from_s)) * power.gpus[place].busy
            for span in run.spans
            for place in span.places
            if place in power.gpus
        )
        cost, energy = cost + joules * price, energy + joules
    if not energy:
        return None
    return Price(
        value=cost / energy,
        formula=f"{cost / energy:.4g} {tariff.currency}/kWh, the tariff weighed by the energy of each of its hours",
    )


def _list_bounds(tariff: Electricity, start: datetime, window_s: float) -> list[float]:
    """The seconds of a night at which a price can change, with its beginning and end."""
    bounds = {0.0, window_s}
    for window in tariff.tariff:
        at, end = start, start + timedelta(seconds=window_s)
        while (change := window.hours.find_next_change(at)) is not None and change < end:
            bounds.add((change - start).total_seconds())
            at = change
    return sorted(bounds)


def compute_consumption(
    cluster: Cluster, power: Power, outcome: Outcome, unit: str, *, price: Price | None
) -> Consumption:
    """Work out the electricity of a night from what was busy how long; `price` is None where it is unknown."""
    if outcome.energy_wh is None:
        return Consumption(energy=None, energy_each=None, cost_each=None, unknown=power.unknown)
    hours = outcome.span_s / 3600
    others = sum(figure.value for figure in power.machines.values())
    total_wh = outcome.energy_wh + others * hours
    formula = f"{outcome.energy_wh:.0f} Wh of GPUs while they work + {others:g} W of machines x {hours:g} h"
    if power.efficiency is not None:
        total_wh *= 100 / power.efficiency.value
        formula = f"({formula}) / {power.efficiency.value:g} % ({power.efficiency.source})"
    energy_each = (
        computed(total_wh / outcome.finished, "Wh", f"({formula}) / {outcome.finished}") if outcome.finished else None
    )
    return Consumption(
        energy=computed(total_wh / _WH, "kWh", formula),
        energy_each=energy_each,
        cost_each=_compute_cost(cluster, energy_each, unit, price),
        unknown=() if cluster.electricity else (f"cost of one {unit}: the cluster file has no electricity price",),
        assumed=(*_list_assumed(power.machines), *_list_assumed_efficiency(power.efficiency)),
    )


def _list_assumed_efficiency(efficiency: Figure | None) -> Iterator[str]:
    if efficiency is not None and efficiency.origin is Origin.ASSUMED:
        yield f"{efficiency.value:g} % of what the wall gives comes out of a supply: {efficiency.source}"


def _list_assumed(machines: Mapping[str, Figure]) -> Iterator[str]:
    """Say once what was assumed of several machines."""
    nodes: defaultdict[Figure, list[str]] = defaultdict(list)
    for node, figure in machines.items():
        if figure.origin is Origin.ASSUMED:
            nodes[figure].append(node)
    for figure, named in nodes.items():
        shown = ", ".join(named[:_MOST_NAMES]) + (
            f" and {len(named) - _MOST_NAMES} more" if named[_MOST_NAMES:] else ""
        )
        yield f"{figure.value:g} W in addition to the GPUs, for each of {shown}: {figure.source}"


def _compute_cost(cluster: Cluster, energy_each: Figure | None, unit: str, price: Price | None) -> Figure | None:
    tariff = cluster.electricity
    if tariff is None or energy_each is None or price is None:
        return None
    formula = f"{energy_each.value:.4g} Wh for one {unit} x {price.formula}"
    return computed(energy_each.value / _WH * price.value, tariff.currency, formula)


def _name_slot(node: Node, index: int) -> SlotId:
    return SlotId(f"{node.name}/gpu{index}")
