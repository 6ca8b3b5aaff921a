"""Keeps the leases of running attempts.

A lease is renewed well before its deadline. An attempt whose lease is gone, or could not be renewed in time, is
stopped: another can own its task by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import asyncpg
import structlog

from corral.tasks.attempt_run import StopReason
from corral.tasks.running import Attempt
from corral.tasks.store import dispatching
from corral.tasks.store.pool import CONNECTION_LOST, Pool
from corral.tasks.store.transitions import Lease

log = structlog.get_logger()


class LeaseKeeper:
    """Renews the leases of the attempts that run here; `attempts` is the dispatcher's, and only read."""

    def __init__(
        self,
        pool: Pool,
        lease: Lease,
        attempts: Mapping[UUID, Attempt],
        *,
        heartbeat_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._lease = lease
        self._attempts = attempts
        self._heartbeat_s = heartbeat_s
        self._monotonic = monotonic
        self._renewed_at = monotonic()

    async def run(self) -> None:
        """Renew for ever."""
        while True:
            await asyncio.sleep(self._heartbeat_s)
            attempts = list(self._attempts)
            kept = await self._renew(attempts)
            for id in attempts:
                if id not in kept and (attempt := self._attempts.get(id)):
                    attempt.stop.set(StopReason.LOST)

    async def _renew(self, attempts: Sequence[UUID]) -> frozenset[UUID]:
        asked_at = self._monotonic()
        try:
            async with asyncio.timeout(self._heartbeat_s):  # a database that hangs is a database that is gone
                ttl = self._lease.ttl
                kept = await dispatching.renew_leases(self._pool, attempts, ttl) if attempts else frozenset[UUID]()
        except (*CONNECTION_LOST, asyncpg.PostgresError) as error:  # whatever it is, the next heartbeat tries again
            log.warning("leases_not_renewed", error=str(error))
            return self._list_unexpired(attempts)
        self._renewed_at = asked_at
        return kept

    def _list_unexpired(self, attempts: Sequence[UUID]) -> frozenset[UUID]:
        """Return the attempts whose lease is still valid at the next heartbeat, as far as this server can know."""
        oldest = self._monotonic() + self._heartbeat_s - self._lease.ttl.total_seconds()
        held = (self._attempts[id] for id in attempts if id in self._attempts)
        return frozenset(attempt.id for attempt in held if max(attempt.leased_at, self._renewed_at) > oldest)
