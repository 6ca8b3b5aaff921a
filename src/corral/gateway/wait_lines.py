"""The lines of a stream that say how its wait goes, before its answer begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from corral.gateway.asgi import Exchange
from corral.slots.guests import GuestWait

NOTE_EVERY_S = 10.0
"""How often a client that waits and wants to know gets a line, so that proxies keep its connection."""


class WaitLines:
    """Writes into a stream how its wait goes, until it is stopped."""

    def __init__(self, exchange: Exchange, write: Callable[[GuestWait], bytes], media_type: bytes) -> None:
        """`write` makes a line of a wait, `media_type` is the content type of the stream."""
        self._exchange = exchange
        self._write_wait = write
        self._media_type = media_type
        self._line = b""
        self._changed = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None

    def take(self, wait: GuestWait) -> None:
        """Take the state of the wait for a turn."""
        self._line = self._write_wait(wait)
        self._changed.set()
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    def say(self, words: str) -> None:
        """Take what an engine waits for."""
        self.take(GuestWait(ahead=0, expected_s=None, because=words))

    async def stop(self) -> None:
        """Write no more; what is being written is written to its end."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.cancel()
            await asyncio.wait({writing})

    async def _write(self) -> None:
        while True:
            self._changed.clear()
            if self._line:
                if not self._exchange.started:
                    await self._exchange.start(200, [(b"content-type", self._media_type)])
                await self._exchange.write(self._line)
            try:
                async with asyncio.timeout(NOTE_EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
