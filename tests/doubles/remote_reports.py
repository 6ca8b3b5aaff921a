"""A reporter that keeps what it is told; stands for the queue's own, which stores it with the task."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any


class KeptReports:
    """Keeps everything in order, and wakes those who wait for a note."""

    def __init__(self) -> None:
        self.fractions: list[float | None] = []
        self.notes: list[str] = []
        self.previews: list[tuple[str, bytes]] = []
        self.relayed: list[tuple[str, dict[str, Any]]] = []
        self._noted = asyncio.Event()

    def progress(self, fraction: float | None, note: str = "") -> None:
        self.fractions.append(fraction)
        self.notes.append(note)
        self._noted.set()

    def preview(self, media_type: str, data: bytes) -> None:
        self.previews.append((media_type, data))

    def relay(self, event: str, data: Mapping[str, Any]) -> None:
        self.relayed.append((event, dict(data)))

    async def noted(self, beginning: str) -> None:
        """Wait until a note begins like this."""
        while not any(note.startswith(beginning) for note in self.notes):
            self._noted.clear()
            await self._noted.wait()
