"""Routers of the parts of the API, and how an application takes them up."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from fastapi.params import Depends
from fastapi.routing import APIRoute


def make_router(
    tag: str, *, prefix: str = "", route_class: type[APIRoute] = APIRoute, dependencies: Sequence[Depends] = ()
) -> APIRouter:
    """Return a router for one part of the API, whose operations are named as their functions."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        route_class=route_class,
        dependencies=list(dependencies),
        generate_unique_id_function=lambda route: route.name,
    )


def serve_routes(app: FastAPI, router: APIRouter) -> None:
    """Let an application serve the routes of a router as they are.

    `FastAPI.include_router` makes each route anew with its schemas, at the first request: 0.4 s in which a server
    answers nothing.
    """
    app.router.routes.extend(router.routes)
