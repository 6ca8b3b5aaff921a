"""A reporter that keeps what it is told; stands for the queue's own, which stores it with the task."""

from __future__ import annotations

import asyncio


class KeptReports:
    """Keeps everything in order; `previewed` is set by the first preview."""

    def __init__(self) -> None:
        self.fractions: list[float | None] = []
        self.notes: list[str] = []
        self.previews: list[tuple[str, bytes]] = []
        self.previewed = asyncio.Event()

    def progress(self, fraction: float | None, note: str = "") -> None:
        self.fractions.append(fraction)
        self.notes.append(note)

    def preview(self, media_type: str, data: bytes) -> None:
        self.previews.append((media_type, data))
        self.previewed.set()
