"""The verdict over a card's samples."""

from __future__ import annotations

from typing import Any

import pynvml
import pytest

from corral.telemetry.loadtest.report import thin
from corral.telemetry.loadtest.verdict import GpuVerdict, Outcome, find_worst, judge
from corral.telemetry.nvml import GpuState
from corral.telemetry.sampling import GpuLimits, Sample, Slowed, decode

LIMITS = GpuLimits(gpu=0, name="NVIDIA GeForce RTX 5070 Ti", slowdown_c=90, power_limit_w=300, pcie_width=16)


def samples(count: int = 61, **changes: Any) -> list[Sample]:  # changes are the fields of Sample
    """A card at full load, once a second."""
    loaded: dict[str, Any] = {
        "temperature_c": 70,
        "utilization": 99,
        "sm_mhz": 2700,
        "power_w": 298.0,
        "slowed": (Slowed.POWER_CAP,),
        "pcie_width": 16,
        "pcie_replays": 0,
        "ecc_uncorrected": 0,
    }
    return [Sample(at_s=float(second), gpu=0, **(loaded | changes)) for second in range(count)]


def verdict(seen: list[Sample], limits: GpuLimits = LIMITS) -> GpuVerdict:
    return judge(limits, seen, wanted_s=60)


def first(seen: list[Sample], limits: GpuLimits = LIMITS) -> tuple[Outcome, str]:
    done = verdict(seen, limits)
    return done.outcome, done.remarks[0].what


def test_a_card_that_holds_its_power_limit_passes() -> None:
    done = verdict(samples())

    assert (done.outcome, done.remarks, done.seconds, done.samples) == (Outcome.PASS, (), 60, 61)
    assert done.slowed == {Slowed.POWER_CAP: 1.0}


def test_a_card_that_nobody_loaded_says_nothing() -> None:
    assert first(samples(utilization=3)) == (
        Outcome.INCONCLUSIVE,
        "was not loaded: mean utilization 3 %, wanted 80 %",
    )


def test_a_test_that_ended_early_says_nothing() -> None:
    assert first(samples(31)) == (Outcome.INCONCLUSIVE, "watched for 30.0s of 1m 00s")


def test_a_lost_card_fails_with_its_time_although_it_was_watched_too_short() -> None:
    gone = Sample(at_s=31, gpu=0, state=GpuState.LOST, problem="GPU is lost")

    assert first([*samples(31), gone]) == (Outcome.FAIL, "the GPU stopped answering after 31.0s (GPU is lost)")


@pytest.mark.parametrize(
    ("degrees", "outcome"), [(85, Outcome.PASS), (86, Outcome.WARN), (89, Outcome.WARN), (90, Outcome.FAIL)]
)
def test_temperature_is_judged_by_the_drivers_threshold(degrees: int, outcome: Outcome) -> None:
    assert verdict(samples(temperature_c=degrees)).outcome is outcome


def test_without_a_threshold_a_declared_one_is_used_and_said() -> None:
    outcome, what = first(samples(temperature_c=88), GpuLimits(gpu=0))

    assert outcome is Outcome.FAIL
    assert "the driver gives no threshold" in what


@pytest.mark.parametrize(
    ("reasons", "outcome"),
    [
        ((Slowed.HARDWARE, Slowed.HARDWARE_THERMAL), Outcome.FAIL),
        ((Slowed.HARDWARE, Slowed.POWER_BRAKE), Outcome.FAIL),
        ((Slowed.HARDWARE,), Outcome.FAIL),
        ((Slowed.SOFTWARE_THERMAL,), Outcome.WARN),
        ((Slowed.SYNC_BOOST,), Outcome.PASS),
    ],
)
def test_one_second_of_a_slowdown_counts(reasons: tuple[Slowed, ...], outcome: Outcome) -> None:
    seen = samples()
    seen[10] = samples(11, slowed=reasons)[10]

    assert verdict(seen).outcome is outcome


def test_memory_errors_fail_and_repeated_transfers_warn_only_when_they_grow() -> None:
    seen = samples(ecc_uncorrected=5, pcie_replays=7)
    assert verdict(seen).outcome is Outcome.PASS

    assert verdict([*seen[:-1], samples(ecc_uncorrected=6, pcie_replays=7)[-1]]).outcome is Outcome.FAIL
    assert verdict([*seen[:-1], samples(ecc_uncorrected=5, pcie_replays=8)[-1]]).outcome is Outcome.WARN


def test_clocks_that_fade_are_told() -> None:
    seen = [*samples()[:40], *samples(sm_mhz=2300)[40:]]

    assert first(seen) == (
        Outcome.WARN,
        "clocks fell from 2700 MHz in the first tenth of the test to 2300 MHz in the last",
    )


@pytest.mark.parametrize(("lanes", "outcome"), [(16, Outcome.PASS), (8, Outcome.PASS), (4, Outcome.WARN)])
def test_a_narrow_link_is_told(lanes: int, outcome: Outcome) -> None:
    assert verdict(samples(pcie_width=lanes)).outcome is outcome


def test_what_a_driver_does_not_report_is_not_judged() -> None:
    seen = [Sample(at_s=float(second), gpu=0, temperature_c=60, utilization=95) for second in range(61)]

    done = verdict(seen, GpuLimits(gpu=0))

    assert done.outcome is Outcome.PASS
    assert (done.power_w, done.sm_mhz, done.slowed) == (None, None, {})


def test_a_card_without_one_sample_is_inconclusive() -> None:
    assert verdict([]).outcome is Outcome.INCONCLUSIVE
    assert find_worst([]) is Outcome.INCONCLUSIVE


def test_the_worst_card_decides() -> None:
    assert find_worst([verdict(samples()), verdict(samples(3)), verdict(samples(temperature_c=95))]) is Outcome.FAIL


def test_every_bit_that_the_driver_names_has_a_word() -> None:
    assert decode(0x4 | 0x40) == (Slowed.POWER_CAP, Slowed.HARDWARE_THERMAL)
    assert len(decode(pynvml.nvmlClocksEventReasonAll)) == len(Slowed)
    assert decode(1 << 40) == ()


def test_a_chart_keeps_a_peak_of_one_second() -> None:
    points = [(float(second), 70.0) for second in range(1801)]
    points[777] = (777.0, 91.0)

    kept = thin(points)

    assert len(kept) <= 601
    assert (777.0, 91.0) in kept
