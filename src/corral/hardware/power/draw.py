"""The formulas: from what each card takes to watts, amperes, heat and money of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from corral.cluster.values import Electricity
from corral.figures import Figure, computed
from corral.hardware.power.values import Draw

RAIL_V = 12
"""The rail that feeds GPUs and processors (ATX12V)."""
BTU_PER_WATT_HOUR = 3.412
"""1 W = 3.412 BTU/h (NIST SP 811, appendix B.8)."""
EXCURSION = 1.6
"""How many times its power a card takes for about a millisecond.

Igor's Lab measured 901.1 W for under 1 ms on an RTX 5090 of 575 W, which is 1.57 times
(https://www.slashgear.com/1902896/rtx-5090-how-much-power-can-pull-nvidia-geforce-gpu/). PCIe CEM 5.x allows a card 3
times for 100 us; what is that short comes out of the supply's capacitors, and ATX 3.x asks for 200 % there.
"""
EXCURSION_CARRIED = 1.45
"""What ATX 3.x asks of every supply for 1 ms, also of one up to 450 W or without a 16-pin connector.

Intel, ATX Version 3 design guide (336521), table 3-3.
"""
_DIGITS = 3
"""Decimals that are kept: enough for money and kWh, few enough to hide that 0.1 is no binary number."""


def draw_of(
    watts: Sequence[float],
    other: Figure,
    psu: Figure | None,
    *,
    electricity: Electricity | None,
    night: timedelta,
) -> Draw:
    """Work out the draw of a machine whose cards take so many watts each."""
    gpus = computed(sum(watts), "W", sum_of(watts, "W") or "no GPU whose power is known")
    total = gpus.value + other.value
    system = computed(total, "W", f"{gpus.value:g} W of GPUs + {other.value:g} W besides")
    energy = _energy(system, night)
    peak = _rounded(EXCURSION * gpus.value + other.value, "W", f"{EXCURSION:g} x {gpus.value:g} W + {other.value:g} W")
    return Draw(
        gpus=gpus,
        system=system,
        psu_load=None if psu is None else _load(system, psu),
        gpu_current=_current(gpus),
        system_current=_current(system),
        peak=peak,
        margin=None if psu is None else _margin(peak, psu),
        heat=_rounded(total * BTU_PER_WATT_HOUR, "BTU/h", f"{total:g} W x {BTU_PER_WATT_HOUR} BTU/h per W"),
        energy=energy,
        cost=None if electricity is None else _cost(energy, electricity),
    )


def sum_of(terms: Sequence[float], unit: str) -> str:
    """Write a sum with equal terms together: `2 x 300 W + 170 W`."""
    counts = {term: terms.count(term) for term in dict.fromkeys(terms)}
    return " + ".join(
        f"{count} x {term:g} {unit}" if count > 1 else f"{term:g} {unit}" for term, count in counts.items()
    )


def _rounded(value: float, unit: str, formula: str) -> Figure:
    return computed(round(value, _DIGITS), unit, formula)


def _load(system: Figure, psu: Figure) -> Figure:
    return _rounded(100 * system.value / psu.value, "%", f"{system.value:g} W / {psu.value:g} W")


def _margin(peak: Figure, psu: Figure) -> Figure:
    carried = EXCURSION_CARRIED * psu.value
    return _rounded(carried - peak.value, "W", f"{100 * EXCURSION_CARRIED:g} % of {psu.value:g} W - {peak.value:g} W")


def _current(watts: Figure) -> Figure:
    return _rounded(watts.value / RAIL_V, "A", f"{watts.value:g} W / {RAIL_V} V")


def _energy(system: Figure, night: timedelta) -> Figure:
    hours = night.total_seconds() / 3600
    return _rounded(system.value * hours / 1000, "kWh", f"{system.value:g} W x {hours:g} h / 1000")


def _cost(energy: Figure, electricity: Electricity) -> Figure:
    price, currency = electricity.price_per_kwh, electricity.currency
    return _rounded(energy.value * price, currency, f"{energy.value:g} kWh x {price:g} {currency} per kWh")
