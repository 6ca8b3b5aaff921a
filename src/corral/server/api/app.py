"""Puts the API together; each request gets an id, its place in log and metrics, and an answer even to a bug."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from secrets import token_hex
from traceback import format_exc
from typing import cast

import structlog
from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from corral import __version__
from corral.gateway.asgi import read_headers
from corral.gateway.doors import Doors, WorksBehind
from corral.server.api.changes import Changes
from corral.server.api.errors import answer_bug, handle_errors
from corral.server.api.routes import (
    attempts,
    audit,
    backup,
    batches,
    characters,
    cluster,
    conversations,
    engines,
    events,
    files,
    holds,
    hosted_models,
    invitations,
    machine,
    notifications,
    pictures,
    planning,
    queues,
    server,
    session,
    sets,
    slots,
    tasks,
    tokens,
    uploads,
    usage,
    waiting_list,
)
from corral.server.api.routing import serve_routes
from corral.server.api.sets import submit_task
from corral.server.api.slot_changes import SlotChanges
from corral.server.api.state import MAX_UPLOAD, ApiState
from corral.server.api.streams import HEARTBEAT_S
from corral.server.doors.entrances import Entrances
from corral.server.doors.making import make_doors
from corral.server.metrics import Metrics
from corral.server.proxies import TrustedProxies
from corral.server.services import Services
from corral.server.thumbnails import Thumbnails
from corral.studio.sets.keeper import Keeper
from corral.tasks.store.intake import Intake
from corral.tasks.store.tokens import KEYS_CHANNEL
from corral.tasks.supervision import supervise
from corral.units import Bytes
from corral.work import Json

log = structlog.get_logger()

_DESCRIPTION = """Runs AI work on the GPUs you own: one durable queue, every GPU busy.

Every error has one shape (`ErrorOut`): a stable `code`, what the caller can do (`kind`), every problem with its path,
and the request id that `X-Request-Id` repeats. Loopback needs no token; other addresses need `Authorization: Bearer`.
"""


def create_app(services: Services, *, max_upload: Bytes = MAX_UPLOAD, heartbeat_s: float = HEARTBEAT_S) -> FastAPI:
    """Return the API over the parts of a running server; it follows the story while its lifespan lasts."""

    async def submit_of_set(owner: str, token: str | None, body: Mapping[str, Json], key: str) -> int:
        return await submit_task(api, owner, token, body, key)

    api = ApiState(
        services=services,
        intake=Intake(services.pool, limits=lambda: _queued_limits(services)),
        changes=Changes(
            services.pool, alarms=services.alarms, others={KEYS_CHANNEL: lambda: services.keys.ring.wake()}
        ),
        metrics=Metrics(),
        slot_changes=SlotChanges(lambda: slots.describe_slots(api)),
        thumbnails=Thumbnails(services),
        sets=Keeper(services.pool, submit_of_set, epoch=lambda: services.board.epoch),
        max_upload=max_upload,
        heartbeat_s=heartbeat_s,
    )

    async def serve_own(scope: Scope, receive: Receive, send: Send) -> None:
        await app.serve_routes(scope, receive, send)

    doors = make_doors(api, serve_own)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        work = {"story": api.changes.run, "keys": services.keys.run, "sets": api.sets.run}
        work |= {type(door).__name__: door.run for door in doors if isinstance(door, WorksBehind)}
        running = [asyncio.create_task(supervise(name, run, services.alarms), name=name) for name, run in work.items()]
        try:
            yield
        finally:
            api.changes.stop()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for door in doors:
                await door.close()

    app = Api(
        title="Corral",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # the pages that FastAPI offers load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.api = api
    handle_errors(app)
    entrances = Entrances(Doors(app.serve_routes, doors), services=services)
    context = RequestContext(entrances, metrics=api.metrics)
    app.front = TrustedProxies(context, networks=lambda: services.cluster.server.trusted_proxies)
    of_the_queue = (tasks, waiting_list, batches, events, files, attempts, uploads, slots, holds, queues, engines)
    administration = (session, tokens, invitations, usage, notifications, audit, backup, server)
    of_the_cluster, of_people = (planning, cluster, machine, hosted_models), (conversations, pictures, characters, sets)
    for part in (*of_the_queue, *of_the_cluster, *of_people, *administration):
        serve_routes(app, part.router)
    return app


class Api(FastAPI):
    """FastAPI behind the layers of every request: what a door answers never enters it, which halves the cost."""

    front: ASGIApp
    """The outermost layer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        await self.front(scope, receive, send)

    async def serve_routes(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what no door answers."""
        await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Return FastAPI's own layers but the one that answers bugs: `RequestContext` does, in front of all of them."""
        outermost = super().build_middleware_stack()
        assert isinstance(outermost, ServerErrorMiddleware), "Starlette has it around all others"
        return outermost.app


def end_streams(app: FastAPI) -> None:
    """End every open stream and wait; to be called before the HTTP server waits for its connections to close."""
    cast("ApiState", app.state.api).changes.stop()  # set above; Starlette's state is untyped


def _queued_limits(services: Services) -> dict[str, int | None]:
    return {name: queue.max_queued_per_owner for name, queue in services.cluster.queues.items()}


_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OF_EVERY_ANSWER = ((b"x-corral-version", __version__.encode()), (b"x-content-type-options", b"nosniff"))
_NAMES_OF_EVERY_ANSWER = frozenset(name for name, _ in _OF_EVERY_ANSWER)


class RequestContext:
    """The outermost layer: it answers whatever happens, and names the request in the answer."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or a websocket, which is counted alone."""
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0
        self._metrics.begin_request()

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _name_answer(message.get("headers", ()), request_id)}
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except ClientDisconnect:
            log.info("client_went_away", request_id=request_id, path=scope["path"])
        except Exception:  # noqa: BLE001 - a request that meets a bug is answered, and the others go on
            # As text: a renderer that shows local variables would write tokens into the log.
            facts = {"method": scope["method"], "path": scope["path"], "traceback": format_exc()}
            log.error("request_failed", request_id=request_id, **facts)
            if not status:
                await answer_bug(request_id)(scope, receive, send_named)
        finally:
            self._metrics.end_request(scope["method"], _route_of(scope), status or 499)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepted = False

        async def send_counted(message: Message) -> None:
            nonlocal accepted
            if message["type"] == "websocket.accept":
                accepted = True
                self._metrics.begin_websocket()
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        finally:
            self._metrics.end_websocket(_route_of(scope), accepted=accepted)


def _id_of(scope: Scope) -> str:
    given = read_headers(scope).get("x-request-id")
    return given if given is not None and _GIVEN_ID.fullmatch(given) else token_hex(16)


def _name_answer(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with those that every answer has; its own word on caching stays."""
    named = [pair for pair in headers if pair[0] not in _NAMES_OF_EVERY_ANSWER]
    if b"cache-control" not in [name for name, _ in named]:
        named.append((b"cache-control", b"no-store"))
    return [*named, (b"x-request-id", request_id.encode()), *_OF_EVERY_ANSWER]


def _route_of(scope: Scope) -> str:
    """Return the route's template; its number is bounded, unlike that of paths."""
    return getattr(scope.get("route"), "path", "unmatched")
