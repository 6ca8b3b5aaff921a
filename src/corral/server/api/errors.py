"""Turns every error into one shape with a request id; the only place that knows HTTP statuses.

A caller acts on `kind` and `code`; the status says the same in HTTP's words. An unexpected error is logged with its
traceback and answered without any of it. Routes declare their errors with `refusals`, so that OpenAPI describes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import asyncpg
import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import Response

from corral.errors import CorralError, Kind, Problem, ProblemsError, did_you_mean
from corral.server.api.requests import KNOWN_NAMES
from corral.server.api.schemas import Answer, ErrorBody, ErrorOut, ProblemOut
from corral.server.api.wired import list_names
from corral.tasks.store.pool import CONNECTION_LOST, DatabaseUnavailableError

_log = structlog.get_logger()

_STATUS = {
    Kind.INVALID: 422,
    Kind.MISSING: 404,
    Kind.CONFLICT: 409,
    Kind.NO_CAPACITY: 429,
    Kind.UNAVAILABLE: 503,
    Kind.DENIED: 403,
    Kind.BUG: 500,
}
_STATUS_OF_CODE = {
    "auth.not_authenticated": 401,
    "request.malformed_json": 400,
    "request.method": 405,
    "request.too_large": 413,
    "request.too_many_values": 413,
    "artifact.too_large": 413,
    "artifact.disk_full": 507,
    "upload.quota": 507,
    "artifact.range_unsatisfiable": 416,
}
"""Where HTTP has a more exact word than the kind's."""
_RETRY_AFTER_S = 5
"""The wait of a client when the database is away or a limit is reached: a restart takes a few seconds."""
_SEEN_LENGTH = 60
_DATABASE_LOST = (*CONNECTION_LOST, asyncpg.InsufficientResourcesError, asyncpg.TransactionRollbackError)


class RequestInvalidError(ProblemsError):
    """The request does not have the shape that OpenAPI describes."""

    code: ClassVar[str] = "request.invalid"
    kind: ClassVar[Kind] = Kind.INVALID


class RouteMissingError(CorralError):
    """There is nothing at this address."""

    code: ClassVar[str] = "request.no_route"
    kind: ClassVar[Kind] = Kind.MISSING


class MethodError(CorralError):
    """The address exists, and does not know this method."""

    code: ClassVar[str] = "request.method"
    kind: ClassVar[Kind] = Kind.INVALID


class Refused(HTTPException):
    """Carries an error out of the places where FastAPI lets nothing but its own exception through."""

    def __init__(self, error: CorralError) -> None:
        super().__init__(status_of(error))
        self.error = error


def status_of(error: CorralError) -> int:
    """Return the HTTP status of an error."""
    return _STATUS_OF_CODE.get(error.code, _STATUS[error.kind])


def answer(error: CorralError, request_id: str) -> Response:
    """Return the answer that reports an error."""
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s or _RETRY_AFTER_S))
    return _answer(error.code, error.kind, error.problems, request_id, status=status, headers=headers)


def answer_bug(request_id: str) -> Response:
    """Return the answer to a request that met a bug; the log has the rest."""
    problem = Problem(
        code="server.bug",
        what="the server met an error that it does not know",
        hint=f"look for request {request_id} in the server's log, and report it",
    )
    return _answer(problem.code, Kind.BUG, (problem,), request_id, status=500)


def _answer(
    code: str,
    kind: Kind,
    problems: Sequence[Problem],
    request_id: str,
    *,
    status: int,
    headers: Mapping[str, str] | None = None,
) -> Response:
    first = problems[0]
    body = ErrorOut(
        error=ErrorBody(
            code=code,
            kind=kind,
            what=make_printable(first.what),
            where=_make_printable(first.where),
            hint=_make_printable(first.hint),
            request_id=request_id,
            problems=[
                ProblemOut(
                    code=problem.code,
                    what=make_printable(problem.what),
                    where=_make_printable(problem.where),
                    hint=_make_printable(problem.hint),
                )
                for problem in problems
            ],
        )
    )
    return Response(body.model_dump_json(), status, headers, "application/json")


def request_id_of(request: Request) -> str:
    """Return the id that the outermost layer gave the request."""
    return cast("str", request.scope["state"]["request_id"])  # a dict of anything, filled by `RequestContext`


def handle_errors(app: FastAPI) -> None:
    """Give every error of the app its one shape."""

    @app.exception_handler(CorralError)
    async def known(request: Request, error: CorralError) -> Response:
        return answer(error, request_id_of(request))

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return answer(error.error, request_id_of(request))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        problems = [describe_invalid(details, error.body) for details in error.errors()]
        return answer(RequestInvalidError(problems), request_id_of(request))

    @app.exception_handler(StarletteHTTPException)
    async def http(request: Request, error: StarletteHTTPException) -> Response:
        refusal = answer(_translate(request, error), request_id_of(request))
        refusal.headers.update(error.headers or {})
        return refusal

    async def database_lost(request: Request, error: Exception) -> Response:
        _log.warning("database_lost", request_id=request_id_of(request), error=repr(error))
        lost = DatabaseUnavailableError(
            f"PostgreSQL does not answer ({type(error).__name__})", hint="try again soon, or run `corral doctor`"
        )
        return answer(lost, request_id_of(request))

    for kind in _DATABASE_LOST:
        app.add_exception_handler(kind, database_lost)


def _translate(request: Request, error: StarletteHTTPException) -> CorralError:
    if error.status_code == 405:
        return MethodError(f"{request.url.path} does not know {request.method}", hint="see /openapi.json")
    if error.status_code == 404:
        return RouteMissingError(f"there is nothing at {request.url.path}", hint="see /openapi.json")
    return RequestInvalidError([Problem(code="request.invalid", what=str(error.detail))])


def describe_invalid(details: Mapping[str, Any], body: object) -> Problem:  # Any: pydantic's description of an error
    """Describe what is wrong with a part of a body, in the words of this API."""
    source, *steps = details["loc"]
    where = _find_path(body, steps, details["type"]) if source == "body" else f"{source}.{'.'.join(map(str, steps))}"
    match details["type"]:
        case "missing":
            what = f"{steps[-1]!r} is missing" if steps else "the body is missing"
            return Problem(code="request.missing", what=what, where=where, hint="give it a value")
        case "extra_forbidden" | "unexpected_keyword_argument":
            names = (*KNOWN_NAMES, *list_names())
            hint = did_you_mean(str(steps[-1]), names, otherwise="remove it; /openapi.json lists the names")
            return Problem(code="request.unknown_name", what=f"unknown name {steps[-1]!r}", where=where, hint=hint)
        case "corral":  # a check of Corral's own, which says what to do
            context = details["ctx"]
            return Problem(
                code="request.invalid_value", what=str(context["what"]), where=where, hint=str(context["hint"])
            )
        case _:
            message = details["msg"].removeprefix("Value error, ")
            seen = _shorten(details.get("input"))
            ours = details["ctx"] if details["type"] == "corral" else None
            shown = "" if ours is not None and seen in message else f"; seen: {seen}"
            what = f"{message[:1].lower()}{message[1:]}{shown}"
            hint = None if ours is None else ours["hint"]
            return Problem(code="request.invalid_value", what=what, where=where, hint=hint)


def _find_path(body: object, steps: Sequence[str | int], kind: str) -> str | None:
    """Return the path of a value in the body, without the names of alternatives that pydantic puts between."""
    steps_found: list[str | int] = []
    for index, step in enumerate(steps):
        if isinstance(body, dict) and step in body:
            body = cast("dict[str | int, object]", body)[step]  # JSON that a client sent
        elif isinstance(body, list) and isinstance(step, int):
            body = cast("list[object]", body)[step]  # as above
        elif kind != "missing" or index < len(steps) - 1:
            continue
        steps_found.append(step)
    return write_path(steps_found) or None


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SEEN_LENGTH else f"{text[:_SEEN_LENGTH]}..."


def _make_printable(text: str | None) -> str | None:
    return None if text is None else make_printable(text)


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


def declare_replays(model: type[Answer]) -> Declared:
    """Declare the answer to an idempotency key that was used before."""
    return {200: {"model": model, "description": "this idempotency key was accepted before; here is what it made"}}


def declare_refusals(*statuses: int) -> Declared:
    """Declare these errors, and those that every route can answer with."""
    always = (401, 403, 422, 429, 500, 503)
    return {
        status: {"model": ErrorOut, "description": _DESCRIPTIONS[status]} for status in sorted({*always, *statuses})
    }


def write_path(steps: list[str | int]) -> str:
    """Return the path of a value in its body: `tasks[0].inputs.seed`."""
    text = "".join(
        f"[{step}]" if isinstance(step, int) else f".{make_printable(step)[:80]}" for step in steps if step != ""
    )
    return text.removeprefix(".")


def make_printable(text: str) -> str:
    """Return text that can be in any answer and log line."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\u0000")
