"""A spread without a generator, the same for everybody."""

from __future__ import annotations

_GOLDEN = 0.618_033_988_749_895
"""Multiples of it, less their whole part, fill the span from 0 to 1 evenly at any length (Weyl's sequence)."""


def spread(index: int) -> float:
    """Return the value with a number, in 0 to 1; those of consecutive numbers from 1 on are spread evenly."""
    return index * _GOLDEN % 1
