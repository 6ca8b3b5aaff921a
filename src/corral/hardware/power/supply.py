"""Which power supply a draw asks for, and whether the one that is there carries it.

Two rules, both over what the GPUs draw without limits. Sustained: at most 90 % of the rating. Transients: the peak of
a millisecond within the 145 % that ATX 3.x asks of every supply. A size is recommended when it passes both and is no
smaller than what the catalogue asks for the most demanding GPU alone, so a recommended size always judges as `ok`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from corral.cluster.prices import Electricity
from corral.cluster.values import Node
from corral.figures import Figure, computed
from corral.hardware.power.efficiency import find_efficiency
from corral.hardware.power.values import SUGGESTION, SUPPLY, TRANSIENTS, Draw, Judgement, Verdict

STANDARD_SIZES_W = (450, 550, 650, 750, 850, 1000, 1200, 1500, 1600)
"""The steps in which ATX supplies are commonly sold: custom, not a norm. Larger ones need a line of 200 V or more."""
HIGHEST_SUSTAINED = 0.9
"""Share of the rating that a sustained load can take.

A tenth stays for what the sum does not know: the estimate of the rest of the machine, and GPUs that take more than
their nominal power (Igor's Lab measured 314 W on an RTX 5070 Ti of 300 W, http://www.igorscience.org/index-2063.html).
"""
ADVISED_SUSTAINED = 0.8
"""Over this share of the rating a power limit is worth its speed: quieter, cooler, and more in reserve."""
EXCURSION_CARRIED_16_PIN = 1.8
"""What ATX 3.x asks for 1 ms of a supply over 450 W with a 16-pin connector; of the others `EXCURSION_CARRIED`."""
OLD_STANDARD = "ATX 2"
ATX_3 = "Intel, ATX Version 3 design guide (336521), table 3-3"


def recommend(full: Draw, catalogue_psu: Figure | None) -> Figure | None:
    """Choose the smallest standard size that carries the draw and its peak; None when no standard size does."""
    rules = {
        f"{full.system.value:g} W / {_format_percent(HIGHEST_SUSTAINED)}": full.system.value / HIGHEST_SUSTAINED,
        f"{full.peak.value:g} W of peak / {_format_percent(EXCURSION_CARRIED)}": full.peak.value / EXCURSION_CARRIED,
    }
    if catalogue_psu:
        rules["what the catalogue suggests for one GPU"] = catalogue_psu.value
    size = next((size for size in STANDARD_SIZES_W if size >= max(rules.values())), None)
    if size is None:
        return None
    terms = ", ".join(f"{rule} = {least:.0f} W" for rule, least in rules.items())
    return computed(size, "W", f"the smallest standard size that is not under {terms}")


def judge(
    full: Draw, limited: Draw | None, psu: Figure | None, catalogue_psu: Figure | None, standard: str | None
) -> tuple[Judgement, ...]:
    """Say whether the supply carries the draw, sustained and in its peaks, and is what the catalogue suggests."""
    if psu is None:
        reason = "the cluster file does not state `psu.watts`"
        return (Judgement(about=SUPPLY, verdict=Verdict.UNKNOWN, what="its rating is not known", reason=reason),)
    return (
        _judge_sustained(full, limited, psu),
        _judge_transients(full, psu, standard),
        *_judge_suggestion(psu, catalogue_psu),
    )


def mark_lower_bounds(judgements: tuple[Judgement, ...]) -> tuple[Judgement, ...]:
    """Take back every `ok` that was given while the power of a GPU is unknown; what is too much already stays so."""
    return tuple(
        replace(judgement, verdict=Verdict.UNKNOWN, what=f"{judgement.what}, without the GPUs of unknown power")
        if judgement.verdict is Verdict.OK
        else judgement
        for judgement in judgements
    )


def _judge_sustained(full: Draw, limited: Draw | None, psu: Figure) -> Judgement:
    verdict = _rate_sustained(full, psu)
    what = f"{full.system.value:g} W of {psu.value:g} W are {_share(full.system, psu)}"
    share = _format_percent(HIGHEST_SUSTAINED)
    reason = f"at most {share} of the rating is advised; the rest is for what the sum leaves out"
    if limited is not None and verdict is not Verdict.OK:
        verdict, what = _describe_limits(verdict, _rate_sustained(limited, psu), what, _share(limited.system, psu))
    return Judgement(about=SUPPLY, verdict=verdict, what=what, reason=reason)


def _rate_sustained(draw: Draw, psu: Figure) -> Verdict:
    if draw.system.value <= HIGHEST_SUSTAINED * psu.value:
        return Verdict.OK
    return Verdict.TIGHT if draw.system.value <= psu.value else Verdict.NOT_ENOUGH


def _judge_transients(full: Draw, psu: Figure, standard: str | None) -> Judgement:
    verdict = _rate_transients(full.peak.value / psu.value, standard)
    what = f"peaks of about a millisecond can reach {full.peak.value:g} W, {_share(full.peak, psu)} of {psu.value:g} W"
    if full.peak.value <= psu.value:
        return Judgement(about=TRANSIENTS, verdict=verdict, what=what, reason="within the rating of any supply")
    if verdict is Verdict.UNKNOWN:
        what += "; the supply's standard is unknown"
    reason = (
        f"{ATX_3}: every ATX 3.x supply has to carry {_format_percent(EXCURSION_CARRIED)} for 1 ms, with a 16-pin "
        f"connector {_format_percent(EXCURSION_CARRIED_16_PIN)}; an older one promises nothing over its rating, and "
        "can cut out (C04). A power limit holds the mean, not these peaks"
    )
    return Judgement(about=TRANSIENTS, verdict=verdict, what=what, reason=reason)


def _rate_transients(share: float, standard: str | None) -> Verdict:
    """Rate a peak as a share of the rating: what only a newer supply has to carry is unknown without its standard."""
    if share <= 1:
        return Verdict.OK
    if share > EXCURSION_CARRIED_16_PIN:
        return Verdict.NOT_ENOUGH
    if share > EXCURSION_CARRIED or standard == OLD_STANDARD:
        return Verdict.TIGHT
    return Verdict.UNKNOWN if standard is None else Verdict.OK


def _judge_suggestion(psu: Figure, catalogue_psu: Figure | None) -> tuple[Judgement, ...]:
    if catalogue_psu is None or psu.value >= catalogue_psu.value:
        return ()
    what = f"{psu.value:g} W are less than the {catalogue_psu.value:g} W that the catalogue suggests for one GPU"
    return (Judgement(about=SUGGESTION, verdict=Verdict.TIGHT, what=what, reason=catalogue_psu.source),)


def _describe_limits(full: Verdict, limited: Verdict, what: str, share: str) -> tuple[Verdict, str]:
    """Soften a verdict that the limits improve; never to `ok`, because they are lost when the driver restarts (C01)."""
    if limited is Verdict.NOT_ENOUGH:
        return full, f"{what}; with the power limits of the file {share}"
    return Verdict.TIGHT, f"{what}; with the power limits of the file {share}, as long as they are set"


def _share(watts: Figure, psu: Figure) -> str:
    return _format_percent(watts.value / psu.value)


def _format_percent(share: float) -> str:
    return f"{100 * share:.0f} %"


RAIL_V = 12
"""The rail that feeds GPUs and processors (ATX12V)."""
BTU_PER_WATT_HOUR = 3.412
"""1 W = 3.412 BTU/h (NIST SP 811, appendix B.8)."""
EXCURSION = 1.6
"""How many times its power a GPU takes for about a millisecond.

Igor's Lab measured 901.1 W for under 1 ms on an RTX 5090 of 575 W, which is 1.57 times
(https://www.slashgear.com/1902896/rtx-5090-how-much-power-can-pull-nvidia-geforce-gpu/). PCIe CEM 5.x allows a GPU 3
times for 100 us; what is that short comes out of the supply's capacitors, and ATX 3.x asks for 200 % there.
"""
EXCURSION_CARRIED = 1.45
"""What ATX 3.x asks of every supply for 1 ms, also of one up to 450 W or without a 16-pin connector.

Intel, ATX Version 3 design guide (336521), table 3-3.
"""
_DIGITS = 3
"""Decimals that are kept: enough for money and kWh, few enough to hide that 0.1 is not a binary number."""


def compute_draw(
    watts: Sequence[float],
    other: Figure,
    psu: Figure | None,
    *,
    node: Node,
    unlimited: Sequence[float],
    electricity: Electricity | None,
    night: timedelta,
) -> Draw:
    """Work out the draw of a machine whose GPUs take so many watts each; `unlimited` watts make its peaks."""
    gpus = computed(sum(watts), "W", format_sum(watts, "W") or "no GPU whose power is known")
    total = gpus.value + other.value
    system = computed(total, "W", f"{gpus.value:g} W of GPUs + {other.value:g} W for the rest")
    efficiency = find_efficiency(node, total)
    wall = _round(100 * total / efficiency.value, "W", f"{total:g} W / {efficiency.value:g} % ({efficiency.source})")
    energy = _compute_energy(wall, night)
    most = sum(unlimited)
    peak = _round(EXCURSION * most + other.value, "W", f"{EXCURSION:g} x {most:g} W + {other.value:g} W")
    return Draw(
        gpus=gpus,
        system=system,
        efficiency=efficiency,
        wall=wall,
        psu_load=None if psu is None else _compute_load(system, psu),
        gpu_current=_compute_current(gpus),
        system_current=_compute_current(system),
        peak=peak,
        margin=None if psu is None else _compute_margin(peak, psu),
        heat=_round(wall.value * BTU_PER_WATT_HOUR, "BTU/h", f"{wall.value:g} W x {BTU_PER_WATT_HOUR} BTU/h per W"),
        energy=energy,
        cost=None if electricity is None else _compute_cost(energy, electricity),
    )


def format_sum(terms: Sequence[float], unit: str) -> str:
    """Write a sum with equal terms together: `2 x 300 W + 170 W`."""
    counts = {term: terms.count(term) for term in dict.fromkeys(terms)}
    return " + ".join(
        f"{count} x {term:g} {unit}" if count > 1 else f"{term:g} {unit}" for term, count in counts.items()
    )


def _round(value: float, unit: str, formula: str) -> Figure:
    return computed(round(value, _DIGITS), unit, formula)


def _compute_load(system: Figure, psu: Figure) -> Figure:
    return _round(100 * system.value / psu.value, "%", f"{system.value:g} W / {psu.value:g} W")


def _compute_margin(peak: Figure, psu: Figure) -> Figure:
    carried = EXCURSION_CARRIED * psu.value
    return _round(carried - peak.value, "W", f"{100 * EXCURSION_CARRIED:g} % of {psu.value:g} W - {peak.value:g} W")


def _compute_current(watts: Figure) -> Figure:
    return _round(watts.value / RAIL_V, "A", f"{watts.value:g} W / {RAIL_V} V")


def _compute_energy(wall: Figure, night: timedelta) -> Figure:
    hours = night.total_seconds() / 3600
    return _round(wall.value * hours / 1000, "kWh", f"{wall.value:g} W x {hours:g} h / 1000")


def _compute_cost(energy: Figure, electricity: Electricity) -> Figure:
    price, currency = electricity.price_per_kwh, electricity.currency
    return _round(energy.value * price, currency, f"{energy.value:g} kWh x {price:g} {currency} per kWh")
