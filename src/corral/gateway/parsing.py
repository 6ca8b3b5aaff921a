"""Parses the bodies of clients: what they would take in memory is bounded, and what cannot be kept is refused.

Belongs here: what every protocol's JSON has in common.
Does not belong here: which fields a protocol has; the errors of a body, which each door writes in its own words.
"""

from __future__ import annotations

import re

from pydantic_core import from_json

from corral.narrowing import as_list, as_object
from corral.work import Json

MAX_VALUES = 2_000_000
"""Values and keys of one body: 10,000 tasks with a workflow of 150 values each fit. 31 MiB of `[[],[],...` would be
820 MiB; the worst that this lets through, 6 MiB of objects 60 levels deep, takes 175 MiB for 2 s of a slow core."""
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A string, or the rest where it does not end; possessive, so that no body makes it look twice at a byte."""


def parse(body: bytes) -> Json:
    """Return the JSON of a body; blocks. Raises: ValueError, with the reason."""
    if has_more_values(body, MAX_VALUES):
        raise ValueError(f"it has more than {MAX_VALUES} values")
    return from_json(body, allow_inf_nan=False)


def parse_kept(body: bytes) -> Json:
    """Return the JSON of a body that is kept in the database; blocks. Raises: ValueError, with the reason."""
    value = parse(body)
    reason = explain_unkept(value)
    if reason is not None:
        raise ValueError(reason)
    return value


def explain_unkept(value: Json) -> str | None:
    """Say why PostgreSQL cannot hold a value that was parsed; None where it can."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str) and "\x00" in item:
            return "a NUL character cannot be kept"
        if isinstance(item, float) and item - item != 0:
            return "a number is too large"
        members = as_object(item)
        left += [*members, *members.values(), *as_list(item)]
    return None


def has_more_values(body: bytes, limit: int) -> bool:
    """Whether a body has more than `limit` values and keys; nothing of it is made.

    Each has one separator outside strings, but for the outermost; an empty list or mapping has one more. All separators
    are counted first, which takes 1 ms per MiB; those inside strings are taken out only where that is too many.
    """
    if len(body) <= limit or _count_separators(body) <= limit:
        return False
    separators = start = 0
    for strings, string in enumerate(_STRING.finditer(body), start=1):
        separators += _count_separators(body[start : string.start()])
        start = string.end()
        if separators > limit or strings > limit:  # text that is not JSON can have strings with nothing between them
            return True
    return separators + _count_separators(body[start:]) > limit


def _count_separators(body: bytes) -> int:
    return sum(body.count(separator) for separator in (b",", b":", b"[", b"{"))
