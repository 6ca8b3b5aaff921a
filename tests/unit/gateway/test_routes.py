"""The routes of doors: which serves a request, and the name under which the metrics count it."""

from __future__ import annotations

from typing import Any

import pytest

from corral.gateway.asgi import Exchange
from corral.gateway.openai.shape import repair_error
from corral.gateway.routes import RouteMissingError, Routes

ROUTES = Routes(
    {
        ("GET", "/jobs"): "list",
        ("POST", "/jobs"): "create",
        ("POST", "/jobs/cancel"): "cancel",
        ("GET", "/jobs/{id}"): "show",
        ("GET", "/models/{name...}"): "model",
    },
    below="/door",
    docs="docs/doors/door.md",
)


def ask(method: str, path: str) -> Exchange:
    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
    return Exchange(scope, None, None)


@pytest.mark.parametrize(
    ("method", "path", "serve", "part", "name"),
    [
        ("GET", "/door/jobs", "list", "", "/door/jobs"),
        ("HEAD", "/door/jobs", "list", "", "/door/jobs"),
        ("POST", "/door/jobs/cancel", "cancel", "", "/door/jobs/cancel"),
        ("GET", "/door/jobs/7", "show", "7", "/door/jobs/{id}"),
        ("GET", "/door/models/org/llama", "model", "org/llama", "/door/models/{name}"),
    ],
)
def test_request_has_its_route_and_the_metrics_its_name(
    method: str, path: str, serve: str, part: str, name: str
) -> None:
    exchange = ask(method, path)
    route = ROUTES.find(exchange)

    assert (route.serve, route.part) == (serve, part)
    assert exchange.scope["route"].path == name


def test_absent_route_says_which_methods_there_are() -> None:
    with pytest.raises(RouteMissingError) as refused:
        ROUTES.find(ask("DELETE", "/door/jobs"))
    assert refused.value.hint == "use GET, POST"
    with pytest.raises(RouteMissingError) as refused:
        ROUTES.find(ask("GET", "/door/jobs/7/events"))
    assert refused.value.hint == "see docs/doors/door.md"


def test_answer_that_is_nested_too_deep_is_read_as_text() -> None:
    error = repair_error(502, b"[" * 100_000 + b"]" * 100_000, otherwise="the server failed")

    assert (error["type"], error["message"][:3]) == ("server_error", "[[[")
