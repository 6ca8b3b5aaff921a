"""The reference of the HTTP API, from the OpenAPI description that the server itself gives out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from types import SimpleNamespace
from typing import Any, cast, get_args

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pieces import anchor, code, first_paragraph, page, sentence, table
from shapes import answer_fields, fields, type_words

from corral.server.api.app import create_app
from corral.server.api.state import Admin, Submitter, Viewer
from corral.server.services import Services

Operation = Mapping[str, Any]  # Any: OpenAPI is JSON

_ASKED = "Asked"
"""How the names of all shapes end that clients send; the rest are answers."""


def application() -> FastAPI:
    """Return the API without a server behind it: good for its description and for nothing else."""
    return create_app(
        cast("Services", SimpleNamespace(pool=None, alarms=None, guests=None))
    )  # nothing is called, only described


def operations(app: FastAPI) -> Iterator[tuple[str, str, Operation]]:
    """Yield method, path and description of every route."""
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def render() -> str:
    """Make the page."""
    app = application()
    roles = _roles(app)
    grouped = groupby(operations(app), key=lambda operation: operation[2]["tags"][0])
    parts: list[str] = []
    for tag, tagged in grouped:
        parts.append(f"## {tag.capitalize()}")
        parts += [_operation(method, path, operation, roles.get((method, path))) for method, path, operation in tagged]
    schemas = app.openapi()["components"]["schemas"]
    return page("HTTP API", _OPENING, *parts, "## Shapes", *(_shape(name, schemas[name]) for name in sorted(schemas)))


_OPENING = """The base address is what `corral up` prints, by default `http://127.0.0.1:7433`. The same description, for
programs, is at `/openapi.json`.

Bodies are JSON. Unknown names are refused. Every answer has an `X-Request-Id`. Every error has the shape
[ErrorOut](#errorout); [errors](errors.md) lists the codes and their statuses. From loopback no token is needed, from
elsewhere `Authorization: Bearer TOKEN`; see [security](../concepts/security.md).

Lists have a `limit`, and `next` is the `cursor` of the next page.

Submit a task, wait for it, fetch what it made, and follow everything that happens:

```sh
curl http://127.0.0.1:7433/corral/v1/tasks --json '{"engine": "piper", "model": "joe", "inputs": {"text": "Hello."}}'
curl 'http://127.0.0.1:7433/corral/v1/tasks/1/wait?timeout=60'
curl http://127.0.0.1:7433/corral/v1/tasks/1/outputs/speech.wav --output hello.wav
curl --no-buffer http://127.0.0.1:7433/corral/v1/events
```"""


def _roles(app: FastAPI) -> dict[tuple[str, str], str]:
    """Say which role each route asks for."""
    asking: dict[object, str] = {
        get_args(annotation)[1].dependency: role
        for annotation, role in ((Viewer, "viewer"), (Submitter, "submitter"), (Admin, "admin"))
    }
    roles: dict[tuple[str, str], str] = {}
    for route in _routes(app):
        for dependency in route.dependant.dependencies:
            if dependency.call in asking:
                for method in route.methods or ():
                    roles[method, route.path_format] = asking[dependency.call]
    return roles


def _routes(app: FastAPI) -> Iterator[APIRoute]:
    ways: list[Any] = list(app.routes)  # Any: newer FastAPI keeps included routers whole
    while ways:
        way = ways.pop()
        if isinstance(way, APIRoute):
            yield way
        else:
            ways += getattr(way, "routes", None) or getattr(getattr(way, "original_router", None), "routes", [])


def _operation(method: str, path: str, operation: Operation, role: str | None) -> str:
    parts = [
        f"### {method} {path}",
        sentence(first_paragraph(operation.get("description") or operation.get("summary"))),
        f"Role: {role}." if role else "Needs no token.",
        _parameters(operation),
        _body(operation),
        _answers(operation),
    ]
    return "\n\n".join(part for part in parts if part)


def _parameters(operation: Operation) -> str:
    rows = [
        (
            code(parameter["name"]),
            parameter["in"],
            type_words(parameter["schema"], _link),
            "required" if parameter.get("required") else _default(parameter["schema"]),
            sentence(parameter.get("description")),
        )
        for parameter in operation.get("parameters", ())
    ]
    return table(("parameter", "in", "value", "default", "meaning"), rows)


def _default(schema: Operation) -> str:
    return code(schema["default"]) if schema.get("default") not in (None, "") else ""


def _body(operation: Operation) -> str:
    body = operation.get("requestBody")
    if body is None:
        return ""
    kinds = [f"{type_words(media['schema'], _link)} ({code(kind)})" for kind, media in body["content"].items()]
    return f"Body: {' or '.join(kinds)}."


def _answers(operation: Operation) -> str:
    good = [f"{status} {_content(answer)}" for status, answer in operation["responses"].items() if status < "400"]
    bad = sorted(status for status in operation["responses"] if status >= "400")
    return f"Answers: {'; '.join(good)}. Errors: {', '.join(bad)}."


def _content(answer: Operation) -> str:
    for kind, media in answer.get("content", {}).items():
        schema = media.get("schema", {})
        return type_words(schema, _link) if "$ref" in schema else f"{code(kind)}, {answer['description']}"
    return str(answer["description"])


def _shape(name: str, schema: Operation) -> str:
    body = fields(schema, _link) if name.endswith(_ASKED) else answer_fields(schema, _link)
    words = "" if schema.get("properties") else sentence(type_words(schema, _link))
    return "\n\n".join(part for part in (f"### {name}", sentence(schema.get("description")), body, words) if part)


def _link(name: str) -> str:
    return f"[{name}](#{anchor(name)})"
