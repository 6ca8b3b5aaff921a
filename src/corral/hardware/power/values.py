"""What is known about the power of a node, as values; every number with its origin."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from corral.figures import Figure


class Verdict(StrEnum):
    """Whether something is sufficient."""

    OK = "ok"
    TIGHT = "tight"
    """It works, with less in reserve than is advised."""
    NOT_ENOUGH = "not enough"
    UNKNOWN = "unknown"
    """Nobody stated what it would take to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was found about one thing."""

    about: str
    """The thing: `power supply`, `transients`, `connectors`."""
    verdict: Verdict
    what: str
    """A sentence without its period: `750 W of 1000 W are 75 %`."""
    reason: str
    """The rule that decided, and where it is from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPower:
    """One card."""

    index: int
    model: str | None
    tgp: Figure | None
    """What it draws at most without a limit of the user, in W; None when nobody says."""
    limit: Figure | None
    """The limit that the cluster file sets, in W."""
    connectors: str | None
    """The maker's reference board: `1x 16-pin`, `none`; None when the catalogue does not say."""
    slots: int | None
    """Slots of the case that it takes; None when the catalogue does not say, or when it is no plug-in card."""
    length_mm: Figure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A node at full load, either as its makers allow or with the limits of the cluster file."""

    gpus: Figure
    """W. A lower bound when a card's power is unknown (`NodePower.unknown`)."""
    system: Figure
    """W at the outputs of the power supply."""
    psu_load: Figure | None
    """Percent of the supply's rating; None when that is not known."""
    gpu_current: Figure
    """A at 12 V."""
    system_current: Figure
    """A at 12 V if everything draws from that rail, which is close to the truth and never too low."""
    peak: Figure
    """W for about a millisecond, with every card at its excursion at once."""
    heat: Figure
    """BTU/h into the room."""
    energy: Figure
    """kWh in a night."""
    cost: Figure | None
    """What that costs; None without a tariff."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePower:
    """All of it for one node."""

    node: str
    cards: tuple[CardPower, ...]
    other: Figure
    """What the machine draws besides its GPUs, in W."""
    psu: Figure | None
    """The supply's rating in W, when the file states it."""
    full: Draw
    """Without any limit: what the supply has to carry, since a limit is gone after a restart of the driver (C01)."""
    limited: Draw | None
    """With the limits of the cluster file; None when it sets none."""
    recommended_psu: Figure | None
    """The next standard size in W; None when it would take more than the largest."""
    catalogue_psu: Figure | None
    """What the catalogue suggests for a machine with the most demanding of the cards alone, in W."""
    judgements: tuple[Judgement, ...]
    unknown: tuple[str, ...] = ()
    """What could not be counted, as sentences; with any, sums are lower bounds."""
    advice: tuple[str, ...] = ()
    """What to do, each an imperative."""
