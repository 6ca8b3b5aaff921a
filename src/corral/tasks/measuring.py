"""Measures how much memory models take: what their engine reports after the first task, and what looks at GPUs saw.

An engine reports what a model takes once it is loaded; the looks see what its process held at most while tasks ran.
"""

from __future__ import annotations

from contextlib import suppress

import asyncpg

from corral.scheduling.values import DurationKey
from corral.tasks.picture import Picture
from corral.tasks.running import Attempt
from corral.tasks.store import dispatching
from corral.tasks.store.pool import CONNECTION_LOST, Pool
from corral.units import Bytes


class MemoryNotes:
    """Knows which models were measured since the server started."""

    def __init__(self, pool: Pool, picture: Picture) -> None:
        self._pool = pool
        self._picture = picture
        self._measured: set[DurationKey] = set()
        self._peaks: dict[DurationKey, Bytes] = {}

    async def measure(self, attempt: Attempt) -> None:
        """Remember the most that the model of an attempt took, which has just ended well.

        Its engine is asked once for each kind of device.
        """
        key = attempt.key
        await self._note_peak(attempt)
        if key in self._measured:
            return
        self._measured.add(key)
        await attempt.place.refresh([key.engine])
        self._picture.update([attempt.place])
        for held in attempt.place.resident(key.engine):
            if held.model == key.model and held.memory is not None:
                await self._note(key, held.memory)

    async def _note_peak(self, attempt: Attempt) -> None:
        key, peak = attempt.key, attempt.peak
        if peak and key.model is not None and peak > self._peaks.get(key, 0):
            self._peaks[key] = peak
            await self._note(key, peak)

    async def _note(self, key: DurationKey, memory: Bytes) -> None:
        known = self._picture.memory.get((key.engine, key.model), 0)
        self._picture.memory[key.engine, key.model] = Bytes(max(known, memory))
        with suppress(*CONNECTION_LOST, asyncpg.PostgresError):  # it is measured again after the next start
            await dispatching.note_memory(self._pool, key, memory)
