"""The keys of one server with all that is known of them, put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from corral.requests import KeyFields
from corral.server.keys.failures import FailedKeys
from corral.server.keys.limits import KeyMeters
from corral.server.keys.ring import KeyRing
from corral.server.keys.usage import UsageBook
from corral.tasks.store.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of a server's clients, and what is counted for each."""

    ring: KeyRing
    meters: KeyMeters
    usage: UsageBook
    failures: FailedKeys = field(default_factory=FailedKeys)

    @contextmanager
    def enter(self, key: str | None, limits: KeyFields | None) -> Generator[None]:
        """Count a request of a key while it lasts; one without a key has no limits. Raises: KeyLimitError."""
        if key is None or limits is None:
            yield
            return
        with self.meters.enter(key, limits):
            yield

    async def run(self) -> None:
        """Keep them as they are in the database, and write behind what is noted of them, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.ring.run())
            group.create_task(self.usage.run())


def make_keys(pool: Pool) -> Keys:
    """Return the keys of a server on this database."""

    def now() -> datetime:
        return datetime.now(UTC)

    usage = UsageBook(pool, clock=now)
    meters = KeyMeters(monotonic=time.monotonic, clock=now, today=usage.count_today)
    return Keys(ring=KeyRing(pool), meters=meters, usage=usage)
