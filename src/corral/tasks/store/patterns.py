"""Words of users as patterns of `like`."""

from __future__ import annotations


def make_pattern(words: str | None) -> str | None:
    """Return a pattern that matches these words anywhere, and nothing else; None for None."""
    if words is None:
        return None
    escaped = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
