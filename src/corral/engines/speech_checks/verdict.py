"""Whether a cloned line is what was asked for; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds that a line must keep."""

    most_wrong_words: float
    """Share of the words that were asked for."""
    least_similarity: float
    """0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCheck:
    """The findings on one line."""

    text: str
    heard: str
    wrong_words: float
    """Share of the words that were asked for."""
    similarity: float | None
    """To the speaker of the sample; None where there is no sample, or the line is too short."""


def list_faults(check: LineCheck, limits: Limits) -> list[str]:
    """Return what is wrong with a line; nothing where it is what was asked for."""
    faults: list[str] = []
    if check.wrong_words > limits.most_wrong_words:
        share = f"{check.wrong_words:.0%} of its words are wrong, more than {limits.most_wrong_words:.0%}"
        faults.append(f"{share} ({check.heard!r} was heard)")
    if check.similarity is not None and check.similarity < limits.least_similarity:
        least = f"less than {limits.least_similarity:.2f}"
        faults.append(f"its voice is like the sample's to {check.similarity:.2f}, {least}")
    return faults


def rank(check: LineCheck, limits: Limits) -> tuple[int, float]:
    """Return how bad a line is, to choose the best of several: by its faults, then by how large they are."""
    return len(list_faults(check, limits)), check.wrong_words - (check.similarity or 0.0)


def summarize(checks: Sequence[LineCheck]) -> dict[str, float | None]:
    """Return the worst of all lines: what is kept with a task, and sent with a sound."""
    known = [check.similarity for check in checks if check.similarity is not None]
    worst = max((check.wrong_words for check in checks), default=0.0)
    return {"wrong_words": round(worst, 3), "similarity": round(min(known), 3) if known else None}
