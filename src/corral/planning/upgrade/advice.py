"""Says whether an upgrade is worth it: go, go with conditions, or don't; with its reasons and what would change that.

The rules are few and stand in `_verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from corral.planning.upgrade.reasons import Evidence, Reason, Weight, reasons_in


class Advice(StrEnum):
    """What to do."""

    GO = "go"
    CONDITIONS = "go with conditions"
    DONT = "don't"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The verdict."""

    advice: Advice
    sentence: str
    reasons: tuple[Reason, ...]

    def of(self, *weights: Weight) -> tuple[Reason, ...]:
        """List the reasons of some weights."""
        return tuple(reason for reason in self.reasons if reason.weight in weights)

    @property
    def would_change(self) -> tuple[str, ...]:
        """What would change the verdict."""
        return tuple(dict.fromkeys(reason.remedy for reason in self.reasons if reason.remedy))


def advise(evidence: Evidence) -> Recommendation:
    """Weigh what changes."""
    reasons = reasons_in(evidence)
    advice = _verdict(reasons)
    return Recommendation(advice=advice, sentence=_sentence(advice, reasons), reasons=reasons)


def _verdict(reasons: tuple[Reason, ...]) -> Advice:
    weights = [reason.weight for reason in reasons]
    if Weight.BLOCKER in weights or Weight.GAIN not in weights:
        return Advice.DONT
    if weights.count(Weight.LOSS) > weights.count(Weight.GAIN):
        return Advice.DONT
    return Advice.CONDITIONS if Weight.LOSS in weights or Weight.CONDITION in weights else Advice.GO


def _sentence(advice: Advice, reasons: tuple[Reason, ...]) -> str:
    def told(*weights: Weight) -> str:
        return "; ".join(reason.what for weight in weights for reason in reasons if reason.weight is weight)

    if advice is Advice.GO:
        text = told(Weight.GAIN)
    elif advice is Advice.CONDITIONS:
        text = f"{told(Weight.GAIN)}; once this is settled: {told(Weight.CONDITION, Weight.LOSS)}"
    else:
        text = told(Weight.BLOCKER, Weight.LOSS) or "nothing gets better by it"
    return f"{text}."
