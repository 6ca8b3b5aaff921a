"""The door of assistants: the tools of `corral.mcp` at `/mcp`, with the tokens and roles of Corral's own API.

Its SDK is imported with the first request: it takes a second of processor time and some 60 MB, which a server without
assistants does not pay. A request of a page that is not this server's is refused, whatever its token, as the protocol
asks of servers (Model Context Protocol 2026-07-28, Streamable HTTP, security).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from starlette.requests import Request

from corral.errors import CorralError, Kind
from corral.gateway.asgi import Scope, read_headers
from corral.gateway.doors import Doorman
from corral.gateway.routes import Route, name_route
from corral.mcp.answers import ToolContext
from corral.mcp.installed import require_sdk
from corral.server.api.errors import MethodError, answer
from corral.server.doors.foreign_pages import explain_foreign_page
from corral.server.doors.own_api import OwnApi
from corral.server.services import Services

if TYPE_CHECKING:
    from corral.mcp.serving import HttpEntrance

PATH = "/mcp"
_OPENS_S = 60.0
"""How long the import can take, on a machine that is busy."""


class ForeignOriginError(CorralError):
    """A browser sent a request for a page of another site."""

    code: ClassVar[str] = "mcp.foreign_origin"
    kind: ClassVar[Kind] = Kind.DENIED


class NotOpenError(CorralError):
    """The tools could not be made ready."""

    code: ClassVar[str] = "mcp.not_open"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class McpDoor:
    """Serves the Model Context Protocol."""

    paths = (PATH,)

    def __init__(self, doorman: Doorman, services: Services, app: Any) -> None:  # an ASGI application
        """`app` serves Corral's own API, which the tools use."""
        self._doorman = doorman
        self._services = services
        self._app = app
        self._asked = asyncio.Event()
        self._opened = asyncio.Event()
        self._entrance: HttpEntrance | None = None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one request."""
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "tools have no websocket"})
            return
        name_route(scope, Route(PATH))
        request_id = scope.get("state", {}).get("request_id", "")
        if scope["method"] != "POST":  # without sessions there is no stream to read, and no session to end
            refusal = MethodError(f"{PATH} does not know {scope['method']}", hint="send POST, as clients of tools do")
            refused = answer(refusal, request_id)
            refused.headers["Allow"] = "POST"
            await refused(scope, receive, send)
            return
        try:
            await self._admit(scope)
            entrance = await self._open()
        except CorralError as error:
            await answer(error, request_id)(scope, receive, send)
            return
        await entrance.serve(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        """Return when the request can come in; what it can do is decided by the API, call by call."""
        reason = explain_foreign_page(read_headers(scope), self._services.cluster.server.link)
        if reason is not None:
            raise ForeignOriginError(reason, hint="connect with a program, or name this address in `server.link`")
        await self._doorman.admit(scope)

    async def _open(self) -> HttpEntrance:
        require_sdk()
        self._asked.set()
        try:
            async with asyncio.timeout(_OPENS_S):
                await self._opened.wait()
        except TimeoutError as error:
            raise NotOpenError("the tools are not ready", hint="the server's log has the reason; try again") from error
        assert self._entrance is not None, "it is set before it is reported as open"
        return self._entrance

    async def run(self) -> None:
        """After the first request, hold the tools open until cancelled."""
        await self._asked.wait()
        make = await asyncio.to_thread(_load)
        entrance = make(self._make_context)
        async with entrance.open():
            self._entrance = entrance
            self._opened.set()
            await asyncio.get_running_loop().create_future()

    def _make_context(self, request: Request) -> ToolContext:
        api = OwnApi(self._app, request.scope)
        return ToolContext(api=api, make_link=api.make_link, folder=None)

    async def close(self) -> None:
        """Close nothing: `run` has what is open."""


def _load() -> type[HttpEntrance]:
    from corral.mcp.serving import HttpEntrance

    return HttpEntrance
