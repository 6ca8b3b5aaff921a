"""Puts the API together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import cast

from fastapi import FastAPI
from fastapi.routing import APIRoute

from corral import __version__
from corral.server.api.changes import Changes
from corral.server.api.context import RequestContext
from corral.server.api.errors import handle_errors
from corral.server.api.routes import (
    batches,
    catalogue,
    events,
    files,
    machine,
    planning,
    queues,
    server,
    slots,
    tasks,
    tokens,
)
from corral.server.api.state import MAX_UPLOAD, Api
from corral.server.metrics import Metrics
from corral.server.services import Services
from corral.tasks.store.intake import Intake
from corral.units import Bytes

_DESCRIPTION = """Runs AI work on the GPUs you own: one durable queue, every GPU busy.

Every error has one shape (`ErrorOut`): a stable `code`, what the caller can do (`kind`), every problem with its path,
and the request id that `X-Request-Id` repeats. Loopback needs no token; other addresses need `Authorization: Bearer`.
"""


def create_app(services: Services, *, max_upload: Bytes = MAX_UPLOAD) -> FastAPI:
    """Return the API over the parts of a running server; it follows the story while its lifespan lasts."""
    api = Api(
        services=services,
        intake=Intake(services.pool, limits=lambda: _queued_limits(services)),
        changes=Changes(services.pool),
        metrics=Metrics(),
        max_upload=max_upload,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        following = asyncio.create_task(api.changes.run(), name="story")
        try:
            yield
        finally:
            api.changes.stop()
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    app = FastAPI(
        title="Corral",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # the pages that FastAPI offers load their scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=_name_operation,
        redirect_slashes=False,
    )
    app.state.api = api
    handle_errors(app)
    app.add_middleware(RequestContext, metrics=api.metrics)
    for part in (tasks, batches, events, files, slots, queues, catalogue, planning, machine, tokens, server):
        app.include_router(part.router)
    return app


def end_streams(app: FastAPI) -> None:
    """End every open stream and wait; to be called before the HTTP server waits for its connections to close."""
    cast("Api", app.state.api).changes.stop()  # set above; Starlette's state is untyped


def _queued_limits(services: Services) -> dict[str, int | None]:
    return {name: queue.max_queued_per_owner for name, queue in services.cluster.queues.items()}


def _name_operation(route: APIRoute) -> str:
    return route.name
