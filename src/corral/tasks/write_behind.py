"""Sums that are kept in memory and written now and then, each of them once, whatever breaks meanwhile.

A write has the name of its writer and a number. Where its outcome is unknown, since the connection was lost, it is sent
again as it was with the same number, before anything newer; the database passes over a number that it has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sized
from typing import Generic, TypeVar
from uuid import UUID, uuid4

_Sums = TypeVar("_Sums", bound=Sized)


class WriteBehind(Generic[_Sums]):
    """The sums of one writer that are not known to be written; used by one task at a time."""

    def __init__(self, make: Callable[[], _Sums]) -> None:
        """`make` makes sums of nothing."""
        self.pending = make()
        """Sums added since the last write."""
        self.sent: _Sums | None = None
        """On its way, or of unknown outcome."""
        self._make = make
        self._writer = uuid4()
        self._sequence = 1

    async def flush(self, write: Callable[[UUID, int, _Sums], Awaitable[None]]) -> None:
        """Write what was added before; what is added meanwhile waits, or a busy server would write all the time.

        `write` gets the writer's name, the number and the sums. Raises: what it raises; nothing is lost then.
        """
        await self._send(write)
        if len(self.pending):
            self.sent, self.pending = self.pending, self._make()
            await self._send(write)

    async def _send(self, write: Callable[[UUID, int, _Sums], Awaitable[None]]) -> None:
        if self.sent is not None:
            await write(self._writer, self._sequence, self.sent)
            self._sequence += 1
            self.sent = None
