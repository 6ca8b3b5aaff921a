"""Ends the work for a client when it leaves."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from corral.gateway.asgi import CONNECTION, ClientConnection, ClientGoneError, Exchange


class Leaving:
    """Cancels what is in its context when the client leaves, which raises ClientGoneError.

    Where the server shows the connection, that reports its loss; else a task waits for it, which costs several times as
    much as the rest of the context.
    """

    __slots__ = ("_connection", "_exchange", "_is_gone", "_task", "_watcher")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._connection: ClientConnection | None = exchange.scope.get(CONNECTION)
        self._is_gone = False
        self._task: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._connection is None:
            self._watcher = asyncio.create_task(self._watch())
        elif not self._connection.call_when_lost(self._end):
            raise ClientGoneError
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None, "it was entered"
        if self._watcher is not None:
            self._watcher.cancel()
        if self._connection is not None:
            self._connection.call_no_more(self._end)
        if self._is_gone and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise ClientGoneError from error

    async def _watch(self) -> None:
        await self._exchange.until_gone()
        self._end()

    def _end(self) -> None:
        self._is_gone = True
        assert self._task is not None, "it was entered"
        self._task.cancel()
