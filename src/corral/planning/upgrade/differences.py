"""A figure before and after, and how both are written for people.

Sizes of GPUs are written in GiB: a GPU that is sold with 16 GB has 16 GiB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corral.figures import Figure

UNKNOWN = "unknown"
ABSENT = "-"
"""Stands for what is not there to have a quantity, such as a node before it comes."""
_GIB = 2**30
_SIZES = {"B": (_GIB, "GiB")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One quantity before and after an upgrade; None where it is unknown, or where there is nothing to have it."""

    name: str
    before: Figure | None
    after: Figure | None
    no_before: str = UNKNOWN
    """The text where `before` is None."""
    no_after: str = UNKNOWN

    @property
    def before_text(self) -> str:
        """`before` for people, without its origin."""
        return self.no_before if self.before is None else figure_text(self.before)

    @property
    def after_text(self) -> str:
        """`after` for people, without its origin."""
        return self.no_after if self.after is None else figure_text(self.after)

    @property
    def change(self) -> float | None:
        """After less before, in their unit; None when either is unknown."""
        if self.before is None or self.after is None:
            return None
        return self.after.value - self.before.value


def format_number(value: float) -> str:
    """Write a number with at most two decimals and with thousands apart: `1,920`, `0.31`, `7.5`."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    places = 1 if abs(value) >= 10 else 2
    return f"{value:,.{places}f}".rstrip("0").rstrip(".")


def format_amount(value: float, unit: str) -> str:
    """Write a quantity: bytes as GiB, a count alone."""
    factor, shown = _SIZES.get(unit, (1, unit))
    return f"{format_number(value / factor)} {shown}".rstrip()


def figure_text(figure: Figure | None) -> str:
    """Write a figure without its origin."""
    return UNKNOWN if figure is None else format_amount(figure.value, figure.unit)


def change_text(difference: Difference) -> str:
    """Write a change with its sign: `+4 GiB`, `none`; unknown when either side is, and nothing when one is absent."""
    change = difference.change
    if ABSENT in (difference.before_text, difference.after_text):
        return ABSENT
    if change is None or difference.after is None:
        return UNKNOWN
    if change == 0:
        return "none"
    unit = "points" if difference.after.unit == "%" else difference.after.unit
    return f"{'+' if change > 0 else '-'}{format_amount(abs(change), unit)}"


def origin_text(figure: Figure | None) -> str:
    """Say where a figure comes from: `computed: 300 W + 300 W`."""
    return "not known" if figure is None else f"{figure.origin.value}: {figure.source}"


def origins_text(difference: Difference) -> str:
    """Say where both sides come from, once what they share: `computed: 300 W + 170 W → 2 x 300 W`."""
    before, after = difference.before, difference.after
    if ABSENT in (difference.before_text, difference.after_text):
        return origin_text(before or after)
    if before is None or after is None or before.origin is not after.origin:
        return f"before: {origin_text(before)}; after: {origin_text(after)}"
    if before.source == after.source:
        return origin_text(after)
    return f"{after.origin.value}: {before.source} → {after.source}"


def list_names(names: Sequence[str], most: int = 6) -> str:
    """List names; when they are many, the first of them and how many more there are."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
