"""A set as it is shown: counts, what is stale, and when it would be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from corral.studio.quality.keepers import JudgedTake, SettingGroup
from corral.studio.sets.planning import StalePicture
from corral.studio.sets.store import SetPicture
from corral.studio.sets.values import PictureState

LEAST_JUDGED = 20
"""Takes whose verdicts say something of the others: below it, no remakes are expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetForecast:
    """The rest of a set, and when it would be done."""

    pictures: int
    """That have not ended."""
    expected_takes: int
    """Pictures to make for these: more than there are, where some of those made so far were rejected."""
    ends_at: datetime | None
    """At the earliest, after the other work that waits; null where that is unknown, or nothing is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOut:
    """A set."""

    name: str
    owner: str
    created_at: datetime
    changed_at: datetime
    pictures: int
    """That its file asks for."""
    states: Mapping[PictureState, int]
    """How many of them are `open`, `accepted`, `rejected` (as often as the set allows), `failed`, `cancelled`."""
    takes: int
    """Pictures that were made for it, rejected ones included."""
    remade: int
    """Takes after the first of their pictures."""
    stale: int
    """Pictures that would be made otherwise now: the file or a character was changed."""
    forecast: SetForecast


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMade:
    """The result of making a set."""

    planned: int
    """Pictures that will be made now."""
    kept: int
    """Pictures that are there, or were under way."""
    stale: tuple[StalePicture, ...]
    dry_run: bool
    ends_at: datetime | None
    """When those planned would be done at the earliest, after the other work that waits; null where it is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPicturePage:
    """Pictures of a set in the order of their keys, and where the list goes on."""

    items: tuple[SetPicture, ...]
    next: str | None
    """The cursor of the next page; null at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StalePictures:
    """The stale pictures of a set."""

    items: tuple[StalePicture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingGroups:
    """The takes of a set that have a verdict, grouped by one of their settings."""

    by: str
    items: tuple[SettingGroup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemadePictures:
    """Pictures that are made again."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetList:
    """Sets, the last changed first."""

    items: tuple[SetOut, ...]


def expect_takes(left: int, judged: Sequence[JudgedTake]) -> int:
    """Return how many pictures will be made for those that are left, by the share that was accepted so far."""
    accepted = sum(take.accepted for take in judged)
    return left if len(judged) < LEAST_JUDGED or not accepted else ceil(left * len(judged) / accepted)
