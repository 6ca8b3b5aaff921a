"""The content of a set file, once it is checked, and the pictures that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from corral.studio.quality.deciding import Bound
from corral.work import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFile:
    """A whole set file."""

    name: str
    characters: tuple[Mapping[str, Json], ...] | None
    """Each by its `name` alone, or with fields of its own; None for all that the owner has."""
    shots: Mapping[str, str]
    """Names with their parts of the prompt."""
    variants: Mapping[str, str]
    """As `shots`; empty where the set has none."""
    seeds: tuple[int | None, ...]
    """The seed of each picture of a combination; None for one that follows from the picture's key."""
    task: Mapping[str, Json]
    """The task that makes a picture, as the API takes it, with places such as `{character.look}`."""
    checks: tuple[Mapping[str, Json], ...]
    """The tasks that check it, likewise; each gets the picture as its file `picture`."""
    thresholds: Mapping[str, Bound]
    distance: int | None
    """Bits of the perceptual hash in which near-duplicates differ at most; None where any picture can be kept."""
    remakes: int
    """How often a rejected picture is made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPicture:
    """A picture that a set asks for."""

    key: str
    """Unique in its set, and the same as long as the names are: `elena/portrait/day/1`."""
    task: Mapping[str, Json]
    """The task that makes it, whole but for `{seed}`."""
    checks: tuple[Mapping[str, Json], ...]
    """The tasks that check it, likewise."""
    first_seed: int
    settings: Mapping[str, str]
    """For groups of pictures: `character`, `shot`, `variant`, `model`, `sampler`, `lora`, as far as known."""
    sources: Mapping[str, str]
    """Its inputs, each as a text or its digest: `character.look`, `task.inputs.workflow`, `seed`."""
    digest: bytes
    """Of the task and its first seed: equal exactly when the same would be made."""


class PictureState(StrEnum):
    """The state of a picture of a set."""

    OPEN = "open"
    """Being made or checked."""
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """Rejected as often as the set allows."""
    FAILED = "failed"
    """Its task or a check of it failed."""
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPicture:
    """A picture of a set as the database has it."""

    state: PictureState
    digest: bytes
    """Of what it was made from last."""
    sources: Mapping[str, str]
    number: int
    """Of its last take, from 1 on."""
    round: int
    """Of its last take: how many with the same inputs were rejected before it."""
    wanted: bool = True
    """Whether the file asks for it now."""
