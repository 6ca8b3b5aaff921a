"""Finds the comments of a YAML text, so that those can be named which an edit may have made untrue."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.cluster.document import Position
from corral.cluster.editing.lines import position_of
from corral.cluster.editing.tree import Kind, NotFollowedError, Part, parse

_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#[^\r\n]*", re.MULTILINE)


def comments(text: str) -> list[tuple[Position, str]]:
    """List the comments of a text, each with its place; none when the text is written in a way that is not followed."""
    try:
        scalars = sorted(_scalars(parse(text)))
    except NotFollowedError:
        return []
    found = [match for match in _COMMENT.finditer(text) if not _is_inside(match.start(), scalars)]
    return [(position_of(text, match.start()), match[0]) for match in found]


def _scalars(part: Part) -> Iterator[tuple[int, int]]:
    if part.kind is Kind.SCALAR:
        yield part.start, part.end
    for entry in part.entries:
        yield entry.start, entry.key_end
        yield from _scalars(entry.value)


def _is_inside(offset: int, spans: list[tuple[int, int]]) -> bool:
    return any(start <= offset < end for start, end in spans)
