"""Lines of a text: where they start and end, and which comments stand below."""

from __future__ import annotations

import re

from corral.cluster.document import Position

_LINE_END = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
_COMMENT_LINE = re.compile(r"([ \t]*)#[^\r\n\x85\u2028\u2029]*")
_BLANK_LINE = re.compile(r"(?:\r\n|[\n\r\x85\u2028\u2029])[ \t]*(?:\r\n|[\n\r\x85\u2028\u2029])")
_BYTE_ORDER_MARK = "\ufeff"


def position_of(text: str, offset: int) -> Position:
    """Say on which line and in which column an offset is."""
    before = text[:offset]
    return Position(before.count("\n") + 1, len(before) - before.rfind("\n"))


def newline_of(text: str) -> str:
    """Return how the lines of this text end."""
    return "\r\n" if "\r\n" in text else "\n"


def line_end(text: str, offset: int) -> int:
    """Return the offset of the end of the line, before its line break."""
    match = _LINE_END.search(text, offset)
    return match.start() if match else len(text)


def line_start(text: str, offset: int) -> int:
    """Return the offset of the first character of the line; a byte order mark is no part of it."""
    start = max((match.end() for match in _LINE_END.finditer(text, 0, offset)), default=0)
    return start + 1 if text.startswith(_BYTE_ORDER_MARK, start) else start


def next_line(text: str, offset: int) -> int:
    """Return the offset of the first character of the next line; the end of the text, if there is none."""
    end = line_end(text, offset)
    match = _LINE_END.match(text, end)
    return match.end() if match else end


def column_of(text: str, offset: int) -> int:
    """Count the characters before `offset` on its line."""
    return offset - line_start(text, offset)


def starts_its_line(text: str, offset: int) -> bool:
    """Whether nothing but spaces stands before `offset` on its line."""
    return not text[line_start(text, offset) : offset].strip()


def behind_own_comments(text: str, offset: int, column: int) -> int:
    """Return the end of the line of `offset`, or of the last comment right below that is indented beyond `column`."""
    end = line_end(text, offset)
    while (start := next_line(text, end)) > end and (comment := _COMMENT_LINE.match(text, start)):
        if len(comment[1]) <= column:
            break
        end = comment.end()
    return end


def has_blank_line(text: str, start: int, end: int) -> bool:
    """Whether an empty line stands between two offsets."""
    return bool(_BLANK_LINE.search(text, start, end))
