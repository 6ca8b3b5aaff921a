"""Errors of the server as errors of this process: same kind, same problems, so `main` treats both alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from corral.errors import Kind, Problem, ProblemsError
from corral.work import Json


class RemoteError(ProblemsError):
    """The server refused a request or failed with it."""

    code: ClassVar[str] = "server.failed"
    kind: ClassVar[Kind] = Kind.BUG


class RemoteInvalidError(RemoteError):
    """The request is wrong."""

    code = "server.invalid"
    kind = Kind.INVALID


class RemoteMissingError(RemoteError):
    """The named thing does not exist."""

    code = "server.missing"
    kind = Kind.MISSING


class RemoteConflictError(RemoteError):
    """The request does not go with the present state."""

    code = "server.conflict"
    kind = Kind.CONFLICT


class RemoteNoCapacityError(RemoteError):
    """The server has reached a limit."""

    code = "server.no_capacity"
    kind = Kind.NO_CAPACITY


class RemoteUnavailableError(RemoteError):
    """The server, or something that it needs, does not answer now."""

    code = "server.unavailable"
    kind = Kind.UNAVAILABLE


class RemoteDeniedError(RemoteError):
    """The token is missing, unknown, or not enough."""

    code = "server.denied"
    kind = Kind.DENIED


_BY_KIND: Mapping[Kind, type[RemoteError]] = {
    Kind.INVALID: RemoteInvalidError,
    Kind.MISSING: RemoteMissingError,
    Kind.CONFLICT: RemoteConflictError,
    Kind.NO_CAPACITY: RemoteNoCapacityError,
    Kind.UNAVAILABLE: RemoteUnavailableError,
    Kind.DENIED: RemoteDeniedError,
    Kind.BUG: RemoteError,
}
_BY_STATUS: Mapping[int, Kind] = {
    400: Kind.INVALID,
    401: Kind.DENIED,
    403: Kind.DENIED,
    404: Kind.MISSING,
    409: Kind.CONFLICT,
    422: Kind.INVALID,
    429: Kind.NO_CAPACITY,
    502: Kind.UNAVAILABLE,
    503: Kind.UNAVAILABLE,
    504: Kind.UNAVAILABLE,
}


def make_remote_error(status: int, body: Json, *, url: str) -> RemoteError:
    """Make the error for an answer that is not a success; `body` is its JSON, or None when it has none."""
    error = _find_error(body)
    if error is None:
        problem = Problem(code="server.strange_answer", what=f"the answer is HTTP {status} without a reason", where=url)
        return _BY_KIND[_BY_STATUS.get(status, Kind.BUG)]([problem])
    kind = _parse_kind(error.get("kind"), status)
    request = error.get("request_id")
    listed = error.get("problems") or [error]
    return _BY_KIND[kind]([_make_problem(entry, request if kind is Kind.BUG else None) for entry in listed])


def make_unreachable_error(url: str, reason: str, *, hint: str | None = None) -> RemoteUnavailableError:
    """Make the error for a server that does not answer at all."""
    default_hint = "look at its log, or start one with `corral up`"
    problem = Problem(
        code="server.unreachable", what=f"the server does not answer: {reason}", where=url, hint=hint or default_hint
    )
    return RemoteUnavailableError([problem])


def _find_error(body: Json) -> Json:
    """Return what the body says about the error; None when it is not one of Corral's (a proxy's page)."""
    if not isinstance(body, dict) or not isinstance(body.get("error"), dict):  # pyright: ignore[reportUnknownMemberType]
        return None
    return body["error"]  # pyright: ignore[reportUnknownVariableType]  JSON of the server


def _parse_kind(text: Json, status: int) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        return _BY_STATUS.get(status, Kind.BUG)


def _make_problem(entry: Json, request: str | None) -> Problem:
    where = entry.get("where")
    if request:
        where = f"{where} (request {request})" if where else f"request {request}"
    return Problem(
        code=str(entry.get("code", "server.failed")),
        what=str(entry.get("what", "")),
        where=where,
        hint=entry.get("hint"),
    )
