"""Differences between two texts, as `diff -u` prints them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator


def diff_texts(before: str, after: str, old_name: str, new_name: str) -> Iterator[str]:
    """Return the lines of a unified diff, without line ends; none when the texts have the same lines."""
    return difflib.unified_diff(before.splitlines(), after.splitlines(), old_name, new_name, lineterm="")
