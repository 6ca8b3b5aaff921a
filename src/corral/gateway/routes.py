"""The routes of a door: what serves a request, and the name under which the server's metrics count it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from corral.errors import CorralError, Kind
from corral.gateway.asgi import Exchange, Scope

_OPEN = re.compile(r"\{(\w+)(\.\.\.)?\}")
ServeT = TypeVar("ServeT")


class RouteMissingError(CorralError):
    """A door has no such route, or not with this method."""

    code: ClassVar[str] = "request.no_route"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True)
class Route:
    """A route as the metrics of the server name it, under `route` of the scope."""

    path: str


@dataclass(frozen=True, slots=True)
class RouteMatch(Generic[ServeT]):
    """The route of a request."""

    serve: ServeT
    part: str
    """The part of its path that the route leaves open; empty where it leaves none."""
    route: Route


class Routes(Generic[ServeT]):
    """Methods and paths, and what serves each; `{id}` is any one part of a path, `{id...}` the rest of it."""

    def __init__(self, routes: Mapping[tuple[str, str], ServeT], *, below: str = "", docs: str = "") -> None:
        """`below` is what the paths are below, `docs` the page that has them."""
        self._below = below
        self._docs = docs
        self._whole = {key: serve for key, serve in routes.items() if not _OPEN.search(key[1])}
        self._open = [
            (method, _compile(path), RouteMatch(serve, "", Route(below + _OPEN.sub(r"{\1}", path))))
            for (method, path), serve in routes.items()
            if _OPEN.search(path)
        ]

    def match(self, method: str, path: str) -> RouteMatch[ServeT] | None:
        """Return the route of a request for a path below the door's; None where there is none."""
        method = "GET" if method == "HEAD" else method
        serve = self._whole.get((method, path))
        if serve is not None:
            return RouteMatch(serve, "", Route(self._below + path))
        for wanted, pattern, route in self._open:
            if wanted == method and (match := pattern.fullmatch(path)) is not None:
                return RouteMatch(route.serve, match[1], route.route)
        return None

    def list_methods(self, path: str) -> list[str]:
        """List the methods that a path has."""
        whole = [method for method, known in self._whole if known == path]
        return whole + [method for method, pattern, _ in self._open if pattern.fullmatch(path)]

    def find(self, exchange: Exchange) -> RouteMatch[ServeT]:
        """Return the route of a request, and name it for the metrics. Raises: RouteMissingError."""
        path = exchange.path.removeprefix(self._below)
        match = self.match(exchange.method, path)
        if match is None:
            methods = self.list_methods(path)
            hint = f"use {', '.join(methods)}" if methods else f"see {self._docs}"
            raise RouteMissingError(f"there is no {exchange.method} {exchange.path} here", hint=hint)
        name_route(exchange.scope, match.route)
        return match


def name_route(scope: Scope, route: Route) -> None:
    """Name the route of a request for the metrics."""
    scope["route"] = route


def _compile(path: str) -> re.Pattern[str]:
    parts = _OPEN.split(path)  # text, name and mark in turn
    assert len(parts) == 4, f"{path} leaves one place open"
    return re.compile(f"{re.escape(parts[0])}({'.+' if parts[2] else '[^/]+'}){re.escape(parts[3])}", re.DOTALL)
