"""Which prompts the servers of slots read lately: one that begins alike is answered sooner, from the server's cache."""

from __future__ import annotations

from collections import deque
from os.path import commonprefix

from corral.work import SlotId

KEPT = 8
"""Prompts kept for each place: about as many as a server's cache holds conversations."""


class RecentPrompts:
    """The beginnings of the newest prompts of each place, in memory alone."""

    def __init__(self) -> None:
        self._read: dict[SlotId, deque[str]] = {}

    def note(self, place: SlotId, prefix: str) -> None:
        """Note that the server of a place reads a prompt that begins so."""
        if prefix:
            self._read.setdefault(place, deque(maxlen=KEPT)).append(prefix)

    def count_common(self, place: SlotId, prefix: str) -> int:
        """Count the characters with which a prompt begins like one that the place's server read lately."""
        if not prefix:
            return 0
        read = self._read.get(place, ())
        return max((len(commonprefix((prefix, other))) for other in read), default=0)  # noqa: RUF071 (no paths)
