"""Sizes, durations and lists of words: one type inside, one spelling at the edges.

Belongs here: parsing and printing of bytes (`16Gi`, `250MB`), durations (`90s`, `1h30m`) and lists (`a, b and c`).
Does not belong here: anything that knows what is measured.
May import: `corral.errors`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import ClassVar, NewType

from corral.errors import CorralError, Kind

Bytes = NewType("Bytes", int)
"""A size in bytes."""

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_DECIMAL = {"k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(Ki|Mi|Gi|Ti|k|K|M|G|T)?(?:i?B)?\s*")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


class UnitError(CorralError):
    """A size or duration that cannot be read."""

    code: ClassVar[str] = "units.invalid"
    kind: ClassVar[Kind] = Kind.INVALID


def parse_bytes(text: str | int) -> Bytes:
    """Read a size such as `16Gi`, `16GiB`, `250MB`, `1.5G` or a plain number of bytes.

    Raises: UnitError when the text is not a size.
    """
    if isinstance(text, int):
        if text < 0:
            raise UnitError(f"a size cannot be negative: {text}")
        return Bytes(text)
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UnitError(f"not a size: {text!r}", hint="write a number with Ki, Mi, Gi, Ti, k, M, G or T, such as 16Gi")
    number, suffix = match.groups()
    factor = _BINARY.get(suffix or "") or _DECIMAL.get(suffix or "") or 1
    return Bytes(round(float(number) * factor))


def format_bytes(size: int) -> str:
    """Print a size for people, in binary units with at most one decimal: `23.1 GiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def parse_duration(text: str | float) -> timedelta:
    """Read a duration such as `90s`, `1h30m`, `250ms`, `30d`, or a plain number of seconds.

    Raises: UnitError when the text is not a duration or is larger than ten thousand days.
    """
    seconds = _parse_seconds(text)
    if seconds > 10_000 * 86400:
        raise UnitError(f"a duration cannot exceed 10000d: {text!r}")
    return timedelta(seconds=seconds)


def _parse_seconds(text: str | float) -> float:
    if isinstance(text, int | float):
        if not 0 <= text < float("inf"):
            raise UnitError(f"a duration cannot be negative or infinite: {text}")
        return float(text)
    parts = _DURATION.findall(text.replace(" ", ""))
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        raise UnitError(f"not a duration: {text!r}", hint="write a number with ms, s, m, h, d or w, such as 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def format_count(number: float) -> str:
    """Write a number of parameters as model names have it: `135M`, `3.2B`."""
    return f"{number / 1e9:.1f}B" if number >= 1e9 else f"{number / 1e6:.0f}M"


def format_duration(seconds: float) -> str:
    """Print a duration for people with two units at most: `1h 05m`, `2m 03s`, `4.2s`, `12ms`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h {minutes:02d}m"
    return f"{hours // 24}d {hours % 24:02d}h"


def format_list(words: Sequence[str]) -> str:
    """Print words for people: `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def list_some(words: Iterable[str], *, most: int = 3, separator: str = ", ") -> str:
    """Print the first words for people, and how many more there are: `a, b, c and 4 more`."""
    listed = list(words)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return separator.join(listed[:most]) + more
