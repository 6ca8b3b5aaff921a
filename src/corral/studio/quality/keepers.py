"""Which settings give pictures that are kept: takes grouped by a setting, with the share of each that was accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

Setting = Literal["model", "sampler", "lora", "seed", "character", "shot", "variant"]
SEED_RANGES = 8
"""Ranges of equal width, from the smallest seed to the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedTake:
    """A take with its verdict."""

    settings: Mapping[str, str]
    """The values of what it was made with, as far as they are known."""
    seed: int
    accepted: bool
    measurements: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingGroup:
    """The takes that were made with one value of a setting."""

    value: str
    """`-` where the setting is not set; of seeds the range, `0-99`."""
    takes: int
    accepted: int
    share: float
    """Of the takes that were accepted, 0 to 1."""
    means: Mapping[str, float]
    """The mean of each measure over the takes that have it."""


def group_by_setting(takes: Sequence[JudgedTake], by: Setting) -> tuple[SettingGroup, ...]:
    """Group takes, those with the largest share of accepted ones first; seeds by ranges in their order."""
    if by == "seed":
        return tuple(_describe(value, members) for value, members in _range_seeds(takes).items())
    groups: dict[str, list[JudgedTake]] = {}
    for take in takes:
        groups.setdefault(take.settings.get(by, "-"), []).append(take)
    described = (_describe(value, members) for value, members in groups.items())
    return tuple(sorted(described, key=lambda group: (-group.share, group.value)))


def _range_seeds(takes: Sequence[JudgedTake]) -> dict[str, list[JudgedTake]]:
    if not takes:
        return {}
    first, last = min(take.seed for take in takes), max(take.seed for take in takes)
    width = -(-(last - first + 1) // SEED_RANGES)
    ranges: dict[int, list[JudgedTake]] = {}
    for take in sorted(takes, key=lambda take: take.seed):
        ranges.setdefault((take.seed - first) // width, []).append(take)
    return {f"{first + n * width}-{first + (n + 1) * width - 1}": members for n, members in ranges.items()}


def _describe(value: str, takes: Sequence[JudgedTake]) -> SettingGroup:
    accepted = sum(take.accepted for take in takes)
    names = sorted({name for take in takes for name in take.measurements})
    means = {
        name: round(fmean(take.measurements[name] for take in takes if name in take.measurements), 4) for name in names
    }
    return SettingGroup(
        value=value, takes=len(takes), accepted=accepted, share=round(accepted / len(takes), 4), means=means
    )
