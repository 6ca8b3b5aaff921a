"""The error that a cluster file raises: all of its problems at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

from corral.errors import ProblemsError


class ClusterFileError(ProblemsError):
    """A cluster file that cannot be used; `problems` has every reason, in the order of the file."""

    code: ClassVar[str] = "cluster.invalid"


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Name the closest known word, else list what is known (at most twelve words)."""
    words = sorted(set(known))
    if close := closest(wrong, words):
        return f"did you mean `{close}`?"
    if not words:
        return "remove it: nothing of this kind is defined in the file"
    listed = ", ".join(f"`{word}`" for word in words[:12])
    return f"use one of {listed}" + (", ..." if len(words) > 12 else "")


def closest(wrong: str, known: Iterable[str]) -> str | None:
    """Find the known word that is spelled most like `wrong`, capitals aside; None when none is near."""
    lower = {word.lower(): word for word in known}
    close = difflib.get_close_matches(wrong.lower()[:100], lower, n=1, cutoff=0.6)
    return lower[close[0]] if close else None
