"""Reads JSON as RFC 8259 has it, and refuses at once what PostgreSQL cannot hold.

Python's own reader takes NaN, turns 1e999 into infinity, and passes NUL characters and half surrogate pairs; `jsonb`
refuses all of them, when it is too late for a good answer. All problems of a body are reported, each with its path. A
`StrictRoute` reads its body this way, up to a bound.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ClassVar, NoReturn, cast

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.server.api.errors import Refused, write_path
from corral.work import Json

MAX_DEPTH = 64
"""Levels of nesting: far above any workflow, far below the recursion of any reader on the way."""
MAX_PROBLEMS = 100
LOOP_BYTES = 32 * 1024
"""Bytes that are read and checked on the event loop; larger bodies take more than a few milliseconds: in a thread."""


class MalformedJsonError(CorralError):
    """The body is not JSON."""

    code: ClassVar[str] = "request.malformed_json"
    kind: ClassVar[Kind] = Kind.INVALID


class UnusableJsonError(ProblemsError):
    """The body is JSON, with values that cannot be stored."""

    code: ClassVar[str] = "request.unusable_json"
    kind: ClassVar[Kind] = Kind.INVALID


async def read_json(body: bytes) -> Json:
    """Return the JSON of a body. Raises: MalformedJsonError, UnusableJsonError."""
    if len(body) <= LOOP_BYTES:
        return parse(body)
    return await asyncio.to_thread(parse, body)


def parse(body: bytes) -> Json:
    """Return the JSON of a body; blocks for about 30 ms per MiB. Raises: MalformedJsonError, UnusableJsonError."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedJsonError(
            f"the body is not JSON: {error.msg[:1].lower()}{error.msg[1:]}", where=where
        ) from error
    except UnicodeDecodeError as error:
        raise MalformedJsonError(f"the body is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise MalformedJsonError(f"the body is nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:  # a number of more digits than Python reads
        raise MalformedJsonError(f"the body holds a number that cannot be read: {str(error)[:100]}") from error
    problems = _take_first(_find_problems(value))
    if problems:
        raise UnusableJsonError(problems)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedJsonError(f"the body is not JSON: {name} is not a number", hint="use null, or leave it out")


def _take_first(problems: Iterator[Problem]) -> list[Problem]:
    return [problem for problem, _ in zip(problems, range(MAX_PROBLEMS), strict=False)]


def _find_problems(value: Json) -> Iterator[Problem]:
    """Walk without recursion; a path is built only for a value that is wrong."""
    levels: list[tuple[str | int, Iterator[tuple[str | int, Json]]]] = [("", iter([("", value)]))]
    while levels:
        step = next(levels[-1][1], None)
        if step is None:
            levels.pop()
            continue
        key, item = step
        wrong = _find_wrong(key) or _find_wrong(item)
        if wrong:
            yield _make_problem(wrong, [*(name for name, _ in levels), key])
        if not isinstance(item, dict | list):
            continue
        if len(levels) > MAX_DEPTH:
            yield _make_problem(f"the nesting is deeper than {MAX_DEPTH} levels", [name for name, _ in levels])
            return
        levels.append((key, _iterate_members(item)))


def _iterate_members(value: Json) -> Iterator[tuple[str | int, Json]]:
    if isinstance(value, dict):
        return iter(cast("dict[str, Json]", value).items())  # what JSON's readers return
    return iter(enumerate(cast("list[Json]", value)))  # as above


def _find_wrong(value: Json) -> str | None:
    if isinstance(value, str):
        if "\x00" in value:
            return "a NUL character cannot be stored"
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            return "half of a surrogate pair cannot be stored"
    elif isinstance(value, float) and value - value != 0:
        return "the number is too large"
    return None


def _make_problem(what: str, steps: list[str | int]) -> Problem:
    return Problem(code="request.unusable_value", what=what, where=write_path(steps))


MAX_JSON_BYTES = 32 * 1024 * 1024
"""A batch of 10,000 tasks with 3 KiB of inputs each."""


class BodyTooLargeError(CorralError):
    """A body has more bytes than allowed."""

    code: ClassVar[str] = "request.too_large"
    kind: ClassVar[Kind] = Kind.INVALID


class StrictRequest(Request):
    """A request whose body is bounded, and JSON in the strict sense."""

    async def body(self) -> bytes:
        """Return the whole body. Raises: Refused when it is too large."""
        if not hasattr(self, "_body"):
            declared = self.headers.get("content-length", "")
            _refuse_above_bound(int(declared) if declared.isdecimal() else 0)
            chunks = bytearray()
            async for chunk in self.stream():
                chunks += chunk
                _refuse_above_bound(len(chunks))
            self._body = bytes(chunks)
        return self._body

    async def json(self) -> Json:
        """Return the JSON of the body. Raises: Refused with every problem of it."""
        try:
            return await read_json(await self.body())
        except CorralError as error:
            raise Refused(error) from error


class StrictRoute(APIRoute):
    """A route that reads its body as a `StrictRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:  # FastAPI's own signature
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict


def _refuse_above_bound(size: int) -> None:
    if size > MAX_JSON_BYTES:
        raise Refused(
            BodyTooLargeError(
                f"the body has more than {MAX_JSON_BYTES} bytes",
                hint="submit several batches, or upload files instead of putting them into inputs",
            )
        )
