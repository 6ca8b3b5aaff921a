"""The power of a night: GPUs while they work, and the machines around them all night.

A GPU that works draws what its maker or its limit allows, which is the most that it can: the figure is an upper bound
for the GPU. What an idle GPU draws is in no catalogue, and is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from corral.cluster.values import Cluster, Node
from corral.figures import Figure, Origin, computed
from corral.hardware.power import models_of, power_of
from corral.scheduling.simulator import Outcome, Watts
from corral.scheduling.values import Slot
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
    unknown: tuple[str, ...]


def look_up_power(cluster: Cluster, slots: tuple[Slot, ...]) -> Power:
    """Look up what the GPUs of these slots draw, and the rest of their nodes."""
    gpus: dict[SlotId, Watts] = {}
    machines: dict[str, Figure] = {}
    nodes = [node for node in cluster.nodes if any(slot.node == node.name for slot in slots)]
    models = models_of(nodes)
    for node in nodes:
        power = power_of(node, models, electricity=cluster.electricity, night=cluster.night)
        machines[node.name] = power.other
        for gpu in power.cards:
            if drawn := gpu.limit or gpu.tgp:
                gpus[_name_slot(node, gpu.index)] = Watts(busy=drawn.value)
    lacking = [slot.id for slot in slots if slot.id not in gpus]
    unknown = (f"energy: the draw of {', '.join(lacking)} is unknown",) if lacking else ()
    return Power(gpus=gpus, machines=machines, unknown=unknown)


def compute_consumption(cluster: Cluster, power: Power, outcome: Outcome, unit: str) -> Consumption:
    """Work out the electricity of a night from what was busy how long."""
    if outcome.energy_wh is None:
        return Consumption(energy=None, energy_each=None, cost_each=None, unknown=power.unknown)
    hours = outcome.span_s / 3600
    others = sum(figure.value for figure in power.machines.values())
    total_wh = outcome.energy_wh + others * hours
    formula = f"{outcome.energy_wh:.0f} Wh of GPUs while they work + {others:g} W of machines x {hours:g} h"
    energy_each = (
        computed(total_wh / outcome.finished, "Wh", f"({formula}) / {outcome.finished}") if outcome.finished else None
    )
    return Consumption(
        energy=computed(total_wh / _WH, "kWh", formula),
        energy_each=energy_each,
        cost_each=_compute_cost(cluster, energy_each, unit),
        unknown=() if cluster.electricity else (f"cost of one {unit}: the cluster file has no electricity price",),
        assumed=tuple(_list_assumed(power.machines)),
    )


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


def _compute_cost(cluster: Cluster, energy_each: Figure | None, unit: str) -> Figure | None:
    tariff = cluster.electricity
    if tariff is None or energy_each is None:
        return None
    formula = f"{energy_each.value:.4g} Wh for one {unit} x {tariff.price_per_kwh:g} {tariff.currency}/kWh"
    return computed(energy_each.value / _WH * tariff.price_per_kwh, tariff.currency, formula)


def _name_slot(node: Node, index: int) -> SlotId:
    return SlotId(f"{node.name}/gpu{index}")
