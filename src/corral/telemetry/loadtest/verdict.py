"""Judges the samples of one GPU; pure.

A test passes when the GPU was really loaded, to the end, and stayed inside of its limits. What a driver gives no limit
for is judged by a declared one, and says so; what it does not report at all is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from corral.figures import Figure, Origin
from corral.telemetry.nvml import GpuState
from corral.telemetry.sampling import GpuLimits, Sample, Slowed
from corral.units import format_duration

LOADED_PERCENT = 80
"""Mean utilization from which a test shows something; a generator that waits for its disk stays under it."""
ENOUGH = 0.95
"""Share of the wanted time that has to be covered."""
CLOSE_C = 5
"""So near to the slowdown temperature, a warmer room or a dusty filter gets there."""
DECLARED_SLOWDOWN_C = Figure(
    value=88,
    unit="°C",
    origin=Origin.DECLARED,
    source="the driver gives no threshold; the lowest maximum GPU temperature of NVIDIA's GeForce specifications since "
    "the RTX 30 series (RTX 5070 Ti; https://www.nvidia.com/en-us/geforce/graphics-cards/compare/)",
)
FADED = 0.1
"""Clocks that fall by more from the first tenth of the test to the last: the GPU does not hold its speed when warm."""
NARROW_LANES = 8
"""Two GPUs in a consumer board have 8 lanes each; fewer means a loose GPU or the wrong slot."""


class Outcome(StrEnum):
    """The outcome of a test, from best to worst."""

    PASS = "pass"
    WARN = "warn"
    """It held, and something is near its limit."""
    INCONCLUSIVE = "inconclusive"
    """It shows nothing: not loaded, or not long enough."""
    FAIL = "fail"


_ORDER = list(Outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One thing that was found."""

    outcome: Outcome
    what: str
    """A fact with the value seen and the bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One quantity over the test; in the unit that its name has."""

    least: float
    mean: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuVerdict:
    """The judgement of one GPU."""

    limits: GpuLimits
    outcome: Outcome
    remarks: tuple[Remark, ...]
    """Worst first."""
    seconds: float
    """How long the GPU was watched while it answered."""
    samples: int
    temperature_c: Measured | None
    memory_temperature_c: Measured | None
    power_w: Measured | None
    sm_mhz: Measured | None
    utilization: Measured | None
    slowed: Mapping[Slowed, float]
    """Each reason for lower clocks with its share of the samples; the most frequent first."""


def judge(limits: GpuLimits, samples: Sequence[Sample], *, wanted_s: float) -> GpuVerdict:
    """Judge a GPU by its samples, which are in order of time."""
    alive = [sample for sample in samples if sample.state is GpuState.OK]
    remarks = [
        *_report_loss(samples),
        *_report_slowdowns(alive),
        *_judge_temperature(limits, alive),
        *_judge_errors(alive),
        *_judge_link(limits, alive),
        *_judge_load(alive),
        *_judge_coverage(alive, wanted_s),
        *_judge_clocks(alive),
    ]
    remarks.sort(key=lambda remark: -_ORDER.index(remark.outcome))
    return GpuVerdict(
        limits=limits,
        outcome=remarks[0].outcome if remarks else Outcome.PASS,
        remarks=tuple(remarks),
        seconds=_measure_seconds(alive),
        samples=len(alive),
        temperature_c=_summarize(alive, lambda sample: sample.temperature_c),
        memory_temperature_c=_summarize(alive, lambda sample: sample.memory_temperature_c),
        power_w=_summarize(alive, lambda sample: sample.power_w),
        sm_mhz=_summarize(alive, lambda sample: sample.sm_mhz),
        utilization=_summarize(alive, lambda sample: sample.utilization),
        slowed=dict(_count_shares(alive)),
    )


def find_worst(verdicts: Sequence[GpuVerdict]) -> Outcome:
    """Sum up the GPUs: the worst of them; inconclusive when there is none."""
    return max((verdict.outcome for verdict in verdicts), key=_ORDER.index, default=Outcome.INCONCLUSIVE)


def _report_loss(samples: Sequence[Sample]) -> list[Remark]:
    gone = next((sample for sample in samples if sample.state is not GpuState.OK), None)
    if gone is None:
        return []
    when = format_duration(gone.at_s)
    return [Remark(outcome=Outcome.FAIL, what=f"the GPU stopped answering after {when} ({gone.problem})")]


def _report_slowdowns(alive: Sequence[Sample]) -> list[Remark]:
    bad = {
        Slowed.POWER_BRAKE: (Outcome.FAIL, "the power supply or the board made the GPU slow down"),
        Slowed.HARDWARE_THERMAL: (Outcome.FAIL, "the hardware protected itself from heat"),
        Slowed.SOFTWARE_THERMAL: (Outcome.WARN, "the driver lowers clocks to hold its target temperature"),
    }
    seen = {reason for sample in alive for reason in sample.slowed or ()}
    if Slowed.HARDWARE in seen and not seen & {Slowed.POWER_BRAKE, Slowed.HARDWARE_THERMAL}:
        bad[Slowed.HARDWARE] = (Outcome.FAIL, "the hardware slowed down and does not report whether for heat or power")
    return [_describe_slowdown(alive, reason, *bad[reason]) for reason in bad if reason in seen]


def _describe_slowdown(alive: Sequence[Sample], reason: Slowed, outcome: Outcome, meaning: str) -> Remark:
    hit = [sample for sample in alive if reason in (sample.slowed or ())]
    share = len(hit) / len(alive)
    what = f"{reason.value} in {share:.1%} of the samples, first after {format_duration(hit[0].at_s)}: {meaning}"
    return Remark(outcome=outcome, what=what)


def _judge_temperature(limits: GpuLimits, alive: Sequence[Sample]) -> list[Remark]:
    seen = [sample.temperature_c for sample in alive if sample.temperature_c is not None]
    if not seen:
        return [Remark(outcome=Outcome.INCONCLUSIVE, what="the driver gave no temperature")]
    bound = limits.slowdown_c if limits.slowdown_c is not None else round(DECLARED_SLOWDOWN_C.value)
    whose = "the driver's slowdown threshold" if limits.slowdown_c is not None else DECLARED_SLOWDOWN_C.source
    hottest = max(seen)
    if hottest >= bound:
        return [Remark(outcome=Outcome.FAIL, what=f"{hottest} °C reached, at or over {bound} °C ({whose})")]
    if hottest > bound - CLOSE_C:
        return [Remark(outcome=Outcome.WARN, what=f"{hottest} °C reached, within {CLOSE_C} °C of {bound} °C ({whose})")]
    return []


def _judge_errors(alive: Sequence[Sample]) -> list[Remark]:
    remarks: list[Remark] = []
    ecc = _measure_growth([sample.ecc_uncorrected for sample in alive])
    replays = _measure_growth([sample.pcie_replays for sample in alive])
    if ecc:
        remarks.append(Remark(outcome=Outcome.FAIL, what=f"{ecc} memory errors that could not be corrected"))
    if replays:
        what = f"{replays} repeated PCIe transfers: check the riser, and that the GPU is firmly in its slot"
        remarks.append(Remark(outcome=Outcome.WARN, what=what))
    return remarks


def _measure_growth(counts: Sequence[int | None]) -> int:
    known = [count for count in counts if count is not None]
    return known[-1] - known[0] if known else 0


def _judge_link(limits: GpuLimits, alive: Sequence[Sample]) -> list[Remark]:
    widths = [sample.pcie_width for sample in alive if sample.pcie_width is not None]
    if not widths or limits.pcie_width is None or min(widths) >= min(limits.pcie_width, NARROW_LANES):
        return []
    what = f"PCIe link of {min(widths)} lanes, of {limits.pcie_width} that GPU and slot can have"
    return [Remark(outcome=Outcome.WARN, what=what)]


def _judge_load(alive: Sequence[Sample]) -> list[Remark]:
    seen = [sample.utilization for sample in alive if sample.utilization is not None]
    if not seen:
        return [
            Remark(outcome=Outcome.INCONCLUSIVE, what="the driver gave no utilization; whether it was loaded is open")
        ]
    mean = fmean(seen)
    if mean >= LOADED_PERCENT:
        return []
    what = f"was not loaded: mean utilization {mean:.0f} %, wanted {LOADED_PERCENT} %"
    return [Remark(outcome=Outcome.INCONCLUSIVE, what=what)]


def _judge_coverage(alive: Sequence[Sample], wanted_s: float) -> list[Remark]:
    seconds = _measure_seconds(alive)
    if seconds >= wanted_s * ENOUGH:
        return []
    what = f"watched for {format_duration(seconds)} of {format_duration(wanted_s)}"
    return [Remark(outcome=Outcome.INCONCLUSIVE, what=what)]


def _judge_clocks(alive: Sequence[Sample]) -> list[Remark]:
    clocks = [sample.sm_mhz for sample in alive if sample.sm_mhz is not None]
    tenth = len(clocks) // 10
    if tenth == 0:
        return []
    first, last = fmean(clocks[:tenth]), fmean(clocks[-tenth:])
    if last >= first * (1 - FADED):
        return []
    what = f"clocks fell from {first:.0f} MHz in the first tenth of the test to {last:.0f} MHz in the last"
    return [Remark(outcome=Outcome.WARN, what=what)]


def _measure_seconds(alive: Sequence[Sample]) -> float:
    return alive[-1].at_s - alive[0].at_s if alive else 0.0


def _summarize(alive: Sequence[Sample], value: Callable[[Sample], float | None]) -> Measured | None:
    seen = [number for sample in alive if (number := value(sample)) is not None]
    return Measured(least=min(seen), mean=fmean(seen), most=max(seen)) if seen else None


def _count_shares(alive: Sequence[Sample]) -> tuple[tuple[Slowed, float], ...]:
    known = [sample.slowed for sample in alive if sample.slowed is not None]
    shares = [(reason, sum(reason in reasons for reasons in known) / len(known)) for reason in Slowed] if known else []
    return tuple(sorted((share for share in shares if share[1]), key=lambda share: -share[1]))
