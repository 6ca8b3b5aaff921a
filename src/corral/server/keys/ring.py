"""The tokens in memory, so that no request reads the database to know its caller.

A token that another server made is looked up once; one that another server revoked is refused as soon as its
notification arrives, and after `POLL_S` where that is lost. While the database is away, known tokens go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg
import structlog

from corral.tasks.store.pool import CONNECTION_LOST, Pool
from corral.tasks.store.tokens import Token, find_key, hash_secret, list_keys, note_uses

POLL_S = 5.0
"""Pause between two readings of all tokens; also how long a use can be noted late."""

_log = structlog.get_logger()


def _now() -> datetime:
    return datetime.now(UTC)


class KeyRing:
    """Tokens that were not revoked, by the hashes of their secrets."""

    def __init__(self, pool: Pool, *, clock: Callable[[], datetime] = _now, poll_s: float = POLL_S) -> None:
        self._pool = pool
        self._clock = clock
        self._poll_s = poll_s
        self._keys: dict[bytes, Token] = {}
        self._changes = 0
        """How often tokens were revoked here: what was read from the database before can be older."""
        self._used: dict[int, datetime] = {}
        self._changed = asyncio.Event()

    def find_known(self, secret: str) -> Token | None:
        """Return the token of a secret, and note its use; None when it is not in memory, or has expired."""
        token = self._keys.get(hash_secret(secret))
        now = self._clock()
        if token is None or token.has_expired(now):
            return None
        self._used[token.id] = now
        return token

    async def find(self, secret: str) -> Token | None:
        """Return the token of a secret, and note its use; None when it is unknown, revoked or expired.

        The database is asked for one that is not in memory. Raises: what asyncpg raises when it is away.
        """
        digest = hash_secret(secret)
        while digest not in self._keys:
            changes = self._changes
            token = await find_key(self._pool, digest)
            if token is None:
                return None
            if changes == self._changes:
                self._keys[digest] = token
        return self.find_known(secret)

    def forget(self, token: Token) -> None:
        """Refuse a token from now on."""
        self._changes += 1
        self._keys = {digest: known for digest, known in self._keys.items() if known.id != token.id}

    def wake(self) -> None:
        """Read all tokens soon: one was changed."""
        self._changed.set()

    async def refresh(self) -> None:
        """Read all tokens. Raises: what asyncpg raises when the database is away."""
        while True:
            changes = self._changes
            keys = await list_keys(self._pool)
            if changes == self._changes:
                self._keys = keys
                return

    async def run(self) -> None:
        """Keep the tokens as they are in the database, and note their uses there, until cancelled."""
        while True:
            self._changed.clear()
            try:
                await self.refresh()
                await self.write_uses()
            except (*CONNECTION_LOST, asyncpg.PostgresError) as error:
                _log.warning("keys_not_read", error=str(error) or type(error).__name__)
            try:
                await asyncio.wait_for(self._changed.wait(), self._poll_s)
            except TimeoutError:
                continue

    async def write_uses(self) -> None:
        """Note in the database when tokens were used last. Raises: what asyncpg raises when it is away."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await note_uses(self._pool, used)
        except BaseException:
            self._used = used | self._used
            raise
