"""Serves a request of a door: whatever goes wrong is answered in the door's own shape, or ends an answer that began."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog

from corral.errors import CorralError
from corral.gateway.asgi import ClientGoneError, Exchange, Scope
from corral.gateway.statuses import list_headers

_log = structlog.get_logger()


class ErrorShape(Protocol):
    """How a protocol writes an error that is a whole answer."""

    def write_error(self, error: CorralError) -> tuple[int, bytes]:
        """Return status and JSON of an error."""
        ...


async def answer_exchange(
    serve: Callable[[Exchange], Awaitable[None]],
    shape: ErrorShape,
    scope: Scope,
    receive: Any,  # ASGI's callables, of any server
    send: Any,
) -> None:
    """Serve an HTTP request; a websocket that is not accepted is refused by the server."""
    if scope["type"] != "http":
        return
    exchange = Exchange(scope, receive, send)
    try:
        await serve(exchange)
    except ClientGoneError:
        pass
    except CorralError as error:
        if exchange.started:  # what was sent has a length, or cannot say that it failed: it breaks off
            _log.warning("answer_broken_off", path=exchange.path, because=error.what)
            return
        status, body = shape.write_error(error)
        await exchange.answer(status, body, "application/json", list_headers(error))
