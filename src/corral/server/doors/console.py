"""The console's door: the files of its page, which have nothing secret and are for everybody who reaches the server.

The page asks the API for all that it shows; the API knows who asks.
"""

from __future__ import annotations

from typing import Any

from corral.console.files import ASK_AGAIN, FOLDER, ConsoleFiles, PageFile, read_console
from corral.gateway.asgi import Exchange, Scope
from corral.gateway.routes import Route, RouteMissingError, name_route
from corral.server.api.errors import answer

_READING = ("GET", "HEAD")


class ConsoleDoor:
    """Serves the page at `/`, and its files below `/console/`."""

    paths = ("/", f"/{FOLDER}/")

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one request."""
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "the console has no websocket"})
            return
        exchange, console = Exchange(scope, receive, send), read_console()
        is_page = scope["path"] == "/"
        name_route(scope, Route("/" if is_page else f"/{FOLDER}/{{file}}"))
        file = console.html if is_page else console.files.get(scope["path"][1:])
        if exchange.method not in _READING or file is None:
            refusal = RouteMissingError(
                f"the console has no {exchange.method} {scope['path'][:200]}", hint="load the page at `/` anew"
            )
            await answer(refusal, scope.get("state", {}).get("request_id", ""))(scope, receive, send)
            return
        await _send(exchange, file, console)

    async def close(self) -> None:
        """Close nothing: all files are in memory."""


async def _send(exchange: Exchange, file: PageFile, console: ConsoleFiles) -> None:
    headers = {
        "ETag": file.etag,
        "Cache-Control": file.caching,
        "Content-Security-Policy": console.policy,
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if file.caching == ASK_AGAIN:  # the same address answers other programs in other words
        headers["Vary"] = "Accept"
    if file.etag in exchange.headers.get("if-none-match", ""):
        await exchange.start(304, [(name.lower().encode(), value.encode()) for name, value in headers.items()])
        await exchange.end()
        return
    await exchange.answer(200, file.body, file.media_type, headers)
