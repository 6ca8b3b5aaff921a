"""The paths of each port: the main one has everything, a listener its own door and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.types import ASGIApp, Receive, Send

from corral.cluster.gateway_values import Frontend, Listener
from corral.engine_kinds import COMFYUI, OLLAMA, OPENAI
from corral.errors import CorralError, Kind
from corral.gateway.asgi import ClientGoneError, Exchange, Scope
from corral.gateway.ollama.root import ROOT, answer_root, wants_words
from corral.gateway.relay import Relay, RelayError
from corral.server.api.errors import answer
from corral.server.doors.comfyui_page import answer_page, sandbox, wants_page
from corral.server.doors.doorman import TokenDoorman
from corral.server.services import Services

_PATHS = {OLLAMA.name: ("/api/", "/v1/"), OPENAI.name: ("/v1/",)}
"""The paths of a listener's door; an Ollama answers OpenAI's paths, too."""
_COMFYUI_PREFIX = "/comfyui"
"""Where the main port has what a listener of ComfyUI has at its root."""
_API = "/api"
_POLICY_VIOLATION = 1008


class NotHereError(CorralError):
    """A listener does not have this path."""

    code: ClassVar[str] = "listener.path"
    kind: ClassVar[Kind] = Kind.MISSING


class Entrances:
    """ASGI middleware before all doors: it knows which listener a request came through."""

    def __init__(self, app: ASGIApp, *, services: Services, environment: Mapping[str, str] = os.environ) -> None:
        """`app` has the doors and Corral's own API; `environment` the variables that frontends name."""
        self._app = app
        self._environment = environment
        self._services = services
        self._doorman = TokenDoorman(services)
        self._relay = Relay()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or websocket."""
        if scope["type"] == "lifespan":
            await self._serve_lifespan(scope, receive, send)
        elif scope["type"] in ("http", "websocket"):
            try:
                await self._serve(scope, receive, send)
            except ClientGoneError:
                pass
            except CorralError as error:
                await _refuse(error, scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        entrance = self._services.listeners.find(scope)
        place = None if entrance is None else entrance.place
        frontend = place if isinstance(place, Frontend) else None
        if entrance is None or frontend is not None:
            if frontend is not None and _is_below(scope["path"], _API):
                await self._doorman.admit(scope)
                await self._relay.pass_on(_find_api(frontend, self._environment), scope, receive, send)
            elif wants_words(scope):
                await answer_root(scope, receive, send)
            elif scope["type"] == "http" and _is_below(scope["path"], _COMFYUI_PREFIX):
                await self._serve_comfyui(scope, receive, send)
            else:
                await self._app(scope, receive, send)
            return
        if place is None:
            raise NotHereError("this listener is closed", hint="connect again")
        if entrance.name == COMFYUI.name:
            moved = _move_below(scope, _COMFYUI_PREFIX)
            try:
                await self._app(moved, receive, send)
            finally:
                if "route" in moved:  # the metrics read it where they are: before the move
                    scope["route"] = moved["route"]
        elif entrance.name == OLLAMA.name and scope["path"] == ROOT:
            await answer_root(scope, receive, send)
        elif scope["path"].startswith(_PATHS[entrance.name]):
            await self._app(scope, receive, send)
        else:
            raise NotHereError(
                f"the listener gateway.{entrance.name} has no {scope['path']!r}",
                hint=f"it has paths below {', '.join(_PATHS[entrance.name])}; the main port has the others",
            )

    async def _serve_comfyui(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the door on the main port, where its answers are not the pages of this origin."""
        if wants_page(scope):
            place = self._services.listeners.places.get(COMFYUI.name)
            await answer_page(Exchange(scope, receive, send), place if isinstance(place, Listener) else None)
        else:
            await self._app(scope, receive, sandbox(send))

    async def _serve_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            await self._relay.close()


def _find_api(frontend: Frontend, environment: Mapping[str, str]) -> str:
    """Find the address that a frontend passes `/api` to. Raises: RelayError when its variable is not set."""
    address = frontend.api or environment.get(frontend.api_from or "")
    if not address:
        what = f"the environment variable {frontend.api_from} of gateway.frontend is not set"
        raise RelayError(what, hint="set it to the backend's URL, and start the server again")
    return address


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _move_below(scope: Scope, prefix: str) -> Scope:
    """Return a request as if it came to a path below another one."""
    moved = {**scope, "path": prefix + scope["path"]}
    raw = scope.get("raw_path")
    return moved if raw is None else {**moved, "raw_path": prefix.encode() + raw}


async def _refuse(error: CorralError, scope: Scope, receive: Receive, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": error.what[:100]})
        return
    await answer(error, scope.get("state", {}).get("request_id", ""))(scope, receive, send)
