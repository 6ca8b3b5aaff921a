"""Finds the fenced blocks of a Markdown text: their language, their text, and where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^(?P<indent> {0,3})(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+-]*)[^\n]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block."""

    language: str
    """Lower case; empty when it is not said."""
    text: str
    line: int
    """The line of the file on which `text` starts, from 1."""
    start: int
    """The offset in the file at which `text` starts."""


def is_page(name: str) -> bool:
    """Tell whether a file is a page, by its name."""
    return name.lower().endswith((".md", ".markdown"))


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks; one that is never closed reaches to the end (CommonMark 0.31, fenced code blocks)."""
    position, line, counted = 0, 1, 0
    while match := _FENCE.search(text, position):
        start = min(match.end() + 1, len(text))
        closing = re.compile(
            rf"^ {{0,3}}{re.escape(match['fence'][0])}{{{len(match['fence'])},}}[ \t]*\r?$", re.MULTILINE
        )
        end = closing.search(text, start)
        until = end.start() if end else len(text)
        line, counted = line + text.count("\n", counted, start), start
        yield Block(language=match["language"].lower(), text=text[start:until], line=line, start=start)
        position = end.end() if end else len(text)
