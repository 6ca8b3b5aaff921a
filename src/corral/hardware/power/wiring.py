"""Wires: the 12 V rails and cables that GPUs hang on, the circuit of the house, and an uninterruptible supply."""

from __future__ import annotations

from collections.abc import Sequence

from corral.cluster.values import Line, Node
from corral.hardware.power.supply import EXCURSION, RAIL_V
from corral.hardware.power.values import CIRCUIT, RAILS, UPS, WIRING, Connector, Draw, GpuPower, Judgement, Verdict
from corral.units import format_list

LOWEST_PROTECTION_A = 25
HIGHEST_PROTECTION_A = 40
"""Over-current protection of a 12 V rail in supplies with several of them, by maker and model; a supply with one rail
has one protection for all that it is rated for."""
ONE_RAIL = "the supply has one 12 V rail"
CONTINUOUS_SHARE = 0.8
"""Share of a breaker's rating for a load of three hours and more (NEC 210.20(A)); European breakers of 16 A warm up
likewise, and a household socket is not made for its rating over hours."""
USUAL_LINES = (Line(volts=120, amps=15), Line(volts=230, amps=16))
"""Circuits of houses in North America and in Europe."""


def find_conditions(node: Node, gpus: Sequence[GpuPower]) -> tuple[str, ...]:
    """List the facts that a verdict rests on and that the file does not state."""
    return (ONE_RAIL,) if node.psu_rails is None and _sum_peak(gpus) > LOWEST_PROTECTION_A else ()


def judge_wiring(
    node: Node, gpus: Sequence[GpuPower], full: Draw, limited: Draw | None, connectors: Sequence[Connector]
) -> tuple[Judgement, ...]:
    """Judge the rails, the circuit and the uninterruptible supply, as far as the file states them."""
    return (
        *_judge_rails(node, gpus, connectors),
        *_judge_circuit(node, full, limited),
        *_judge_ups(node, full, limited),
    )


def share_line(wall_w: float, line: Line) -> float:
    """Return the share of a circuit that so many watts take."""
    return wall_w / (line.volts * line.amps)


def _sum_peak(gpus: Sequence[GpuPower]) -> float:
    """Return the amperes of all GPUs at their excursion, with those that come through their slots."""
    return sum(_find_peak(gpu) for gpu in gpus)


def _find_peak(gpu: GpuPower) -> float:
    watts = max((figure.value for figure in (gpu.tgp, gpu.limit) if figure), default=0)
    return EXCURSION * watts / RAIL_V


def _judge_rails(node: Node, gpus: Sequence[GpuPower], connectors: Sequence[Connector]) -> tuple[Judgement, ...]:
    peak = _sum_peak(gpus)
    if peak <= LOWEST_PROTECTION_A:
        return ()
    cables = format_list([f"{connector.count} x {connector.kind}" for connector in connectors]) or "unknown cables"
    hang = f"peaks of {peak:.0f} A go through {cables}"
    reason = (
        f"a supply with several rails cuts out when one gives more than its {LOWEST_PROTECTION_A} to "
        f"{HIGHEST_PROTECTION_A} A, and a power limit does not hold back peaks of a millisecond"
    )
    if node.psu_rails is None:
        what = f"{hang} on an unknown number of rails: enough if {ONE_RAIL}"
        return (Judgement(about=WIRING, verdict=Verdict.UNKNOWN, what=what, reason=reason),)
    if node.psu_rails == 1:
        what = f"{hang} and one rail"
        return (Judgement(about=RAILS, verdict=Verdict.OK, what=what, reason=reason),)
    highest = max(_find_peak(gpu) for gpu in gpus)
    is_much = highest > HIGHEST_PROTECTION_A or peak > node.psu_rails * HIGHEST_PROTECTION_A
    verdict = Verdict.NOT_ENOUGH if peak > node.psu_rails * HIGHEST_PROTECTION_A else Verdict.TIGHT
    what = f"{hang} and {node.psu_rails} rails, with {highest:.0f} A for one GPU"
    if not is_much and highest <= LOWEST_PROTECTION_A:
        what += ": put each GPU on a rail of its own"
    return (Judgement(about=RAILS, verdict=verdict, what=what, reason=reason),)


def _judge_circuit(node: Node, full: Draw, limited: Draw | None) -> tuple[Judgement, ...]:
    if node.line is None:
        return ()
    whole = f"{node.line.amps} A at {node.line.volts} V, with nothing else on the circuit"
    reason = f"a load of hours takes {100 * CONTINUOUS_SHARE:.0f} % of a breaker's rating (NEC 210.20(A))"
    return (_judge_wall(CIRCUIT, node.line.volts * node.line.amps, whole, reason, full, limited),)


def _judge_ups(node: Node, full: Draw, limited: Draw | None) -> tuple[Judgement, ...]:
    if node.ups_w is None:
        return ()
    reason = f"over {100 * CONTINUOUS_SHARE:.0f} % nothing is left for its losses and an older battery"
    return (_judge_wall(UPS, node.ups_w, f"the {node.ups_w} W of the UPS", reason, full, limited),)


def _judge_wall(about: str, rating_w: float, whole: str, reason: str, full: Draw, limited: Draw | None) -> Judgement:
    """Judge the watts at the wall; limits make it better, never `ok`, for they go when the driver restarts (C01)."""
    share = full.wall.value / rating_w
    verdict, what = _rate(share), f"{full.wall.value:.0f} W at the wall are {100 * share:.0f} % of {whole}"
    if limited is not None and verdict is not Verdict.OK:
        held = limited.wall.value / rating_w
        what += f"; with the power limits of the file {100 * held:.0f} %, as long as they are set"
        verdict = verdict if _rate(held) is Verdict.NOT_ENOUGH else Verdict.TIGHT
    return Judgement(about=about, verdict=verdict, what=what, reason=reason)


def _rate(share: float) -> Verdict:
    if share <= CONTINUOUS_SHARE:
        return Verdict.OK
    return Verdict.TIGHT if share <= 1 else Verdict.NOT_ENOUGH
