"""The answers besides the usual one that routes declare, so that OpenAPI describes them."""

from __future__ import annotations

from typing import Any

from corral.server.api.schemas import Answer, ErrorOut

_DESCRIPTIONS = {
    400: "the body is not JSON",
    401: "no token, or not a usable one",
    403: "the caller's role does not allow it",
    404: "there is no such thing",
    409: "it does not apply to the present state",
    413: "the body is too large",
    416: "the file has no such range",
    422: "the request cannot be used; every problem is listed",
    429: "a limit is reached",
    500: "a bug",
    503: "the database is away, or the server stops",
    507: "the disk is full",
}

Declared = dict[int | str, dict[str, Any]]  # FastAPI's own type


def replays(model: type[Answer]) -> Declared:
    """Declare the answer to an idempotency key that was used before."""
    return {200: {"model": model, "description": "this idempotency key was accepted before; here is what it made"}}


def refusals(*statuses: int) -> Declared:
    """Declare these errors, and those that every route can answer with."""
    always = (401, 403, 422, 500, 503)
    return {
        status: {"model": ErrorOut, "description": _DESCRIPTIONS[status]} for status in sorted({*always, *statuses})
    }
