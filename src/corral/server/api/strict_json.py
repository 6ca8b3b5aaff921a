"""Reads JSON as RFC 8259 has it, and refuses at once what PostgreSQL cannot hold.

Python's own reader takes NaN, turns 1e999 into infinity, and passes NUL characters and half surrogate pairs; `jsonb`
refuses all of them, when it is too late for a good answer. All problems of a body are reported, each with its path.
What a body would take in memory is bounded before anything of it is made: 31 MiB of `[[],[],...` become 820 MiB.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import ClassVar, NoReturn, cast

from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.gateway.parsing import MAX_VALUES, has_more_values
from corral.server.api.errors import write_path
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


class TooManyValuesError(CorralError):
    """The body is small enough in bytes, and what it describes is too large for the memory."""

    code: ClassVar[str] = "request.too_many_values"
    kind: ClassVar[Kind] = Kind.INVALID


async def read_json(body: bytes, turn: asyncio.Lock) -> Json:
    """Return the JSON of a body; large ones wait for their turn. Raises: as `parse`."""
    if len(body) <= LOOP_BYTES:
        return parse(body)
    async with turn:
        return await asyncio.to_thread(parse, body)


def parse(body: bytes) -> Json:
    """Return the JSON of a body; blocks for about 30 ms per MiB.

    Raises: MalformedJsonError, TooManyValuesError, UnusableJsonError.
    """
    _refuse_many_values(body)
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
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


def _refuse_many_values(body: bytes) -> None:
    if has_more_values(body, MAX_VALUES):
        raise TooManyValuesError(
            f"the body has more than {MAX_VALUES} values", hint="submit several batches, or put data into files"
        )


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
