"""Power limits: whether a card takes one, and when to set one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from corral.hardware.declared import doubt_of_limit
from corral.hardware.gpu_names import gpu_class
from corral.hardware.power.values import NVIDIA, CardPower, Judgement, Verdict

ADVISED_SHARE = 5 / 6
"""The limit that is advised, as a share of a card's power: 250 W of 300 W.

Low enough to matter, and high enough that cards take it: the lowest limit of an RTX 5060 Ti is 150 W of its 180 W.
Four RTX 3090 kept over 95 % of their training speed at 280 W of 350 W, which is less (Puget Systems).
"""
HOT_CARD_W = 300
"""Two cards from this power on in one case heat each other; below, the usual two-slot coolers cope."""
_STEP_W = 5
_SEEN_MINIMUM: Mapping[str, tuple[int, str]] = {
    "5060ti": (150, "https://github.com/b00nz/mVolt/issues/39"),
    "3070ti": (100, "https://github.com/olafkfreund/nixos_config/pull/1396"),
    "3060": (100, "https://github.com/olafkfreund/nixos_config/pull/1396"),
}
"""The lowest limit of a board of this class that somebody reported; another maker's board may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRange:
    """What limits one card takes, as its driver says (`nvidia-smi -q -d POWER`)."""

    minimum_w: float
    maximum_w: float
    source: str = "NVML"


def advised_limit(tgp_w: float) -> int:
    """Advise a limit for a card: five sixths of its power, to the next 5 W above."""
    return _STEP_W * -(-round(tgp_w * ADVISED_SHARE) // _STEP_W)


def check(card: CardPower, known: LimitRange | None) -> Judgement | None:
    """Say whether a card takes the limit that the file sets; None when it sets none.

    Without the driver's word the maximum is unknown too: a card's power is only its default limit, and many go higher.
    """
    if card.limit is None:
        return None
    verdict, what, reason = _known(card.limit.value, known) if known else _unknown(card, card.limit.value)
    return Judgement(about=f"power limit of GPU {card.index}", verdict=verdict, what=what, reason=reason)


def _known(limit_w: float, known: LimitRange) -> tuple[Verdict, str, str]:
    span = f"{known.minimum_w:g} W to {known.maximum_w:g} W"
    if known.minimum_w <= limit_w <= known.maximum_w:
        return Verdict.OK, f"{limit_w:g} W is within what the card takes, {span}", known.source
    return (
        Verdict.NOT_ENOUGH,
        f"{limit_w:g} W is outside what the card takes, {span}; it refuses it (C02)",
        known.source,
    )


def _unknown(card: CardPower, limit_w: float) -> tuple[Verdict, str, str]:
    is_nvidia = card.vendor == NVIDIA
    ask = f"ask the card: `nvidia-smi -i {card.index} -q -d POWER`" if is_nvidia else "ask the card's driver"
    seen = _SEEN_MINIMUM.get(gpu_class(card.model or ""))
    if seen is not None and limit_w < seen[0]:
        return (
            Verdict.TIGHT,
            f"{limit_w:g} W is under the {seen[0]} W that a card of this model takes at least",
            seen[1],
        )
    if card.tgp is None:
        return Verdict.UNKNOWN, f"{limit_w:g} W: which limits the card takes is not known", ask
    doubt = doubt_of_limit(limit_w, card.tgp.value)
    if doubt is not None:
        return Verdict.TIGHT, doubt, card.tgp.source
    if limit_w > card.tgp.value:
        what = f"{limit_w:g} W is over its default limit of {card.tgp.value:g} W; whether it goes higher is not known"
        return Verdict.UNKNOWN, what, ask
    what = f"{limit_w:g} W of {card.tgp.value:g} W; the lowest limit that the card takes is not known"
    return Verdict.UNKNOWN, what, ask
