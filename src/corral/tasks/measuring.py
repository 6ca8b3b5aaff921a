"""Measures how much memory models take, once each: after the first task with one, before another changes that."""

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

    def is_measured(self, attempt: Attempt) -> bool:
        """Whether the model of an attempt was measured on such a device."""
        return attempt.key in self._measured

    async def measure(self, attempt: Attempt) -> None:
        """Ask the engine of an attempt that has just ended well how much its model takes, and remember the most."""
        key = attempt.key
        self._measured.add(key)
        await attempt.place.refresh([key.engine])
        self._picture.update([attempt.place])
        for held in attempt.place.resident(key.engine):
            if held.model == key.model and held.memory is not None:
                known = self._picture.memory.get((key.engine, key.model), 0)
                self._picture.memory[key.engine, key.model] = Bytes(max(known, held.memory))
                with suppress(*CONNECTION_LOST, asyncpg.PostgresError):  # it is measured again after the next start
                    await dispatching.note_memory(self._pool, key, held.memory)
