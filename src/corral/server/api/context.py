"""What surrounds every request: its id, its place in log and metrics, and the last line of defence against a bug."""

from __future__ import annotations

import re
from traceback import format_exc
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from corral.server.api.errors import answer_bug
from corral.server.metrics import Metrics

_log = structlog.get_logger()
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestContext:
    """The outermost layer: it answers whatever happens, and names the request in the answer."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status: list[int] = []
        self._metrics.begin_request()

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except ClientDisconnect:
            _log.info("client_went_away", request_id=request_id, path=scope["path"])
        except Exception:  # noqa: BLE001 - a request that meets a bug is answered, and the others go on
            # As text: a renderer that shows local variables would write tokens into the log.
            facts = {"method": scope["method"], "path": scope["path"], "traceback": format_exc()}
            _log.error("request_failed", request_id=request_id, **facts)
            if not status:
                await answer_bug(request_id)(scope, receive, send_named)
        finally:
            self._metrics.end_request(scope["method"], _route_of(scope), status[0] if status else 499)


def _id_of(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _GIVEN_ID.fullmatch(given) else uuid4().hex


def _route_of(scope: Scope) -> str:
    """Return the route's template; its number is bounded, unlike that of paths."""
    return getattr(scope.get("route"), "path", "unmatched")
