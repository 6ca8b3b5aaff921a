"""Figures as people read them: rounded, with their unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.figures import Figure

_WHOLE_FROM = 100
"""From here on decimals say nothing."""


def format_figure(figure: Figure | None, *, is_assumed: bool = False) -> str:
    """Write a figure with at most two decimals: `2,559 BTU/h`, `39.2 A`; empty when there is none.

    One that rests on an assumption gets three digits, since it does not have more.
    """
    if figure is None:
        return ""
    value = float(f"{figure.value:.3g}") if is_assumed else figure.value
    digits = 0 if abs(value) >= _WHOLE_FROM else 1 if abs(value) >= _WHOLE_FROM / 10 else 2
    number = f"{value:,.{digits}f}"
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return f"{number} {figure.unit}".rstrip()


def shorten_names(names: Sequence[str], most: int = 3) -> str:
    """List a few names; of many, the first ones and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
