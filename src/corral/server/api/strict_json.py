"""Reads JSON as RFC 8259 has it, and refuses at once what PostgreSQL cannot hold.

Python's own reader takes NaN, turns 1e999 into infinity, and passes NUL characters and half surrogate pairs; `jsonb`
refuses all of them, when it is too late for a good answer. All problems of a body are reported, each with its path.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import ClassVar, NoReturn, cast

from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.work import Json

MAX_DEPTH = 64
"""Levels of nesting: far above any workflow, far below the recursion of any reader on the way."""
MAX_PROBLEMS = 100
LOOP_BYTES = 32 * 1024
"""What is read and checked on the event loop itself; larger bodies take more than a few milliseconds: in a thread."""


class MalformedJsonError(CorralError):
    """The body is not JSON."""

    code: ClassVar[str] = "request.malformed_json"
    kind: ClassVar[Kind] = Kind.INVALID


class UnusableJsonError(ProblemsError):
    """The body is JSON, with values that cannot be stored."""

    code: ClassVar[str] = "request.unusable_json"
    kind: ClassVar[Kind] = Kind.INVALID


async def read_json(body: bytes) -> Json:
    """Return what a body says. Raises: MalformedJsonError, UnusableJsonError."""
    if len(body) <= LOOP_BYTES:
        return parse(body)
    return await asyncio.to_thread(parse, body)


def parse(body: bytes) -> Json:
    """Return what a body says; blocks for about 30 ms per MiB. Raises: MalformedJsonError, UnusableJsonError."""
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
    problems = _first(_problems(value))
    if problems:
        raise UnusableJsonError(problems)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedJsonError(f"the body is not JSON: {name} is not a number", hint="use null, or leave it out")


def _first(problems: Iterator[Problem]) -> list[Problem]:
    return [problem for problem, _ in zip(problems, range(MAX_PROBLEMS), strict=False)]


def _problems(value: Json) -> Iterator[Problem]:
    """Walk without recursion; a path is built only for a value that is wrong."""
    levels: list[tuple[str | int, Iterator[tuple[str | int, Json]]]] = [("", iter([("", value)]))]
    while levels:
        step = next(levels[-1][1], None)
        if step is None:
            levels.pop()
            continue
        key, item = step
        wrong = _wrong(key) or _wrong(item)
        if wrong:
            yield _problem(wrong, [*(name for name, _ in levels), key])
        if not isinstance(item, dict | list):
            continue
        if len(levels) > MAX_DEPTH:
            yield _problem(f"the nesting is deeper than {MAX_DEPTH} levels", [name for name, _ in levels])
            return
        levels.append((key, _members(item)))


def _members(value: Json) -> Iterator[tuple[str | int, Json]]:
    if isinstance(value, dict):
        return iter(cast("dict[str, Json]", value).items())  # what JSON's readers return
    return iter(enumerate(cast("list[Json]", value)))  # as above


def _wrong(value: Json) -> str | None:
    if isinstance(value, str):
        if "\x00" in value:
            return "a NUL character cannot be stored"
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            return "half of a surrogate pair cannot be stored"
    elif isinstance(value, float) and value - value != 0:
        return "the number is too large"
    return None


def _problem(what: str, steps: list[str | int]) -> Problem:
    return Problem(code="request.unusable_value", what=what, where=path(steps))


def path(steps: list[str | int]) -> str:
    """Return the path of a value in its body: `tasks[0].inputs.seed`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{printable(step)[:80]}" for step in steps if step != "")
    return text.removeprefix(".")


def printable(text: str) -> str:
    """Return text that can stand in any answer and log line."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\u0000")
