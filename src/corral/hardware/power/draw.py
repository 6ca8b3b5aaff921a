"""The formulas: from what each card takes to watts, amperes, heat and money of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from corral.cluster.values import Electricity
from corral.figures import Figure, computed
from corral.hardware.power.values import CardPower, Draw

RAIL_V = 12
"""The rail that feeds GPUs and processors (ATX12V)."""
BTU_PER_WATT_HOUR = 3.412
"""1 W = 3.412 BTU/h (NIST SP 811, appendix B)."""
EXCURSION = 1.6
"""How many times its power a card takes for about a millisecond."""


def draw_of(
    cards: Sequence[tuple[CardPower, Figure | None]],
    other: Figure,
    psu: Figure | None,
    *,
    electricity: Electricity | None,
    night: timedelta,
) -> Draw:
    """Work out the draw of a machine whose cards take so much each; a card without a figure counts as nothing."""
    watts = [figure.value for _, figure in cards if figure is not None]
    gpus = computed(sum(watts), "W", _sum(watts))
    total = gpus.value + other.value
    system = computed(total, "W", f"{gpus.value:g} W of GPUs + {other.value:g} W besides")
    hours = night.total_seconds() / 3600
    energy = computed(total * hours / 1000, "kWh", f"{total:g} W x {hours:g} h / 1000")
    return Draw(
        gpus=gpus,
        system=system,
        psu_load=None if psu is None else _load(system, psu),
        gpu_current=_current(gpus),
        system_current=_current(system),
        peak=computed(
            gpus.value * EXCURSION + other.value, "W", f"{gpus.value:g} W x {EXCURSION:g} + {other.value:g} W"
        ),
        heat=computed(total * BTU_PER_WATT_HOUR, "BTU/h", f"{total:g} W x {BTU_PER_WATT_HOUR} BTU/h per W"),
        energy=energy,
        cost=None if electricity is None else _cost(energy, electricity),
    )


def _sum(watts: Sequence[float]) -> str:
    """Write a sum with equal terms together: `2 x 300 W + 170 W`."""
    counts = {each: watts.count(each) for each in dict.fromkeys(watts)}
    terms = [f"{count} x {each:g} W" if count > 1 else f"{each:g} W" for each, count in counts.items()]
    return " + ".join(terms) or "no GPU whose power is known"


def _load(system: Figure, psu: Figure) -> Figure:
    return computed(100 * system.value / psu.value, "%", f"{system.value:g} W / {psu.value:g} W")


def _current(watts: Figure) -> Figure:
    return computed(watts.value / RAIL_V, "A", f"{watts.value:g} W / {RAIL_V} V")


def _cost(energy: Figure, electricity: Electricity) -> Figure:
    price, currency = electricity.price_per_kwh, electricity.currency
    return computed(energy.value * price, currency, f"{energy.value:g} kWh x {price:g} {currency}")
