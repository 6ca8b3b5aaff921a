"""Edits of a text at a known place: each takes the text and its parts, and returns the new text.

A value inside brackets stays inside brackets, a block stays a block. Comments are kept, except those on lines that go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from corral.cluster.editing import spelling
from corral.cluster.editing.spelling import Plain
from corral.cluster.editing.tree import Entry, Kind, NotFollowedError, Part, skip_gap


def replace(text: str, parent: Part, entry: Entry, value: Plain) -> str:
    """Write another value in the place of one on a line or inside brackets. Raises: NotFollowedError."""
    old = entry.value
    if not old.is_flow:
        raise NotFollowedError("a block of several lines would give way to a single value")
    if not parent.is_flow and entry.key is not None and not old.entries and _is_collection(value):
        written = spelling.write_pair(entry.key, value, column_of(text, entry.start))
        if len(written) > 1:
            end = find_line_end(text, entry.end)
            kept = text[: entry.key_end] + text[old.end : end]
            return kept + _join_lines(text, written[1:]) + text[end:]
    needs_space = old.start == entry.key_end > entry.start
    return text[: old.start] + " " * needs_space + spelling.write_flow(value) + text[old.end :]


def insert_key(text: str, parent: Part, key: str, value: Plain, *, after: str | None) -> str:
    """Add a key behind the key `after`, or as the last. Raises: NotFollowedError."""
    if parent.kind is not Kind.MAPPING:
        raise NotFollowedError("there is no mapping to add a key to")
    named = [entry for entry in parent.entries if entry.key == after]
    behind = (named or list(parent.entries))[-1:]
    if parent.is_flow:
        return _insert_inside(text, parent, behind, f"{spelling.write_scalar(key)}: {spelling.write_flow(value)}")
    column = column_of(text, parent.entries[0].start)
    return _insert_below(text, behind[0], spelling.write_pair(key, value, column), column)


def append(text: str, parent: Part, value: Plain) -> str:
    """Add an item to a list that has some, written as the last of them is. Raises: NotFollowedError."""
    if parent.kind is not Kind.SEQUENCE:
        raise NotFollowedError("there is no list to add to")
    last = parent.entries[-1]
    if parent.is_flow:
        return _insert_inside(text, parent, [last], spelling.write_flow(value))
    column = column_of(text, parent.entries[0].start)
    is_block = last.value.kind is Kind.MAPPING and not last.value.is_flow
    written = spelling.write_item(value, column, as_block=is_block)
    is_apart = len(parent.entries) > 1 and has_blank_line(text, parent.entries[-2].end, last.start)
    return _insert_below(text, last, ["", *written] if is_apart else written, column)


def remove(text: str, parent: Part, entry: Entry) -> str:
    """Take an entry out of several, or out of brackets; its lines go with it."""
    if parent.is_flow:
        return _remove_inside(text, parent, entry)
    if starts_its_line(text, entry.start):
        return _remove_lines(text, entry)
    # The first key is next to its dash: the next one comes in its place, unless a comment is between them.
    following = parent.entries[1]
    end = entry.end if "#" in text[entry.end : following.start] else following.start
    return text[: entry.start] + text[end:]


def empty(text: str, holder: Entry) -> str:
    """Remove the only entry of a block; `[]` or `{}` comes behind the key that holds it, or in its place."""
    block = holder.value
    (entry,) = block.entries
    brackets = "[]" if block.kind is Kind.SEQUENCE else "{}"
    if holder.key is None or not starts_its_line(text, entry.start):  # it is next to its dash
        return text[: entry.start] + brackets + text[entry.end :]
    shorter = _remove_lines(text, entry)
    return f"{shorter[: holder.key_end]} {brackets}{shorter[holder.key_end :]}"


def rename(text: str, entry: Entry, key: str) -> str:
    """Give a key another name."""
    colon = text.rindex(":", entry.start, entry.key_end)
    end = entry.start + len(text[entry.start : colon].rstrip())
    return text[: entry.start] + spelling.write_scalar(key) + text[end:]


def _insert_inside(text: str, parent: Part, behind: Sequence[Entry], written: str) -> str:
    if not behind:
        return text[: parent.start + 1] + written + text[parent.start + 1 :]
    return text[: behind[0].end] + ", " + written + text[behind[0].end :]


def _insert_below(text: str, entry: Entry, written: Sequence[str], column: int) -> str:
    """Insert lines below an entry and the comments under it that are indented beyond it: they are its own."""
    end = skip_own_comments(text, entry.end, column)
    return text[:end] + _join_lines(text, written) + text[end:]


def _remove_lines(text: str, entry: Entry) -> str:
    return text[: find_line_start(text, entry.start)] + text[find_next_line(text, entry.end) :]


def _remove_inside(text: str, parent: Part, entry: Entry) -> str:
    """Remove an entry and one comma next to it; comments between brackets of several lines stay."""
    place = parent.entries.index(entry)
    if place == 0:
        comma = skip_gap(text, entry.end)
        has_comma = text.startswith(",", comma)
        rest = text[comma + 1 :].lstrip(" ") if has_comma else text[entry.end :]
        return text[: entry.start] + (text[entry.end : comma] if has_comma else "") + rest
    kept = text[: entry.start].rstrip(" ")
    comma = skip_gap(text, parent.entries[place - 1].end)
    return kept[:comma] + kept[comma + 1 :] + text[entry.end :]


def _join_lines(text: str, written: Sequence[str]) -> str:
    newline = newline_of(text)
    return "".join(newline + line for line in written)


def _is_collection(value: Plain) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str))


_LINE_END = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
_COMMENT_LINE = re.compile(r"([ \t]*)#[^\r\n\x85\u2028\u2029]*")
_BLANK_LINE = re.compile(r"(?:\r\n|[\n\r\x85\u2028\u2029])[ \t]*(?:\r\n|[\n\r\x85\u2028\u2029])")
_BYTE_ORDER_MARK = "\ufeff"


def newline_of(text: str) -> str:
    """Return the line end of this text."""
    return "\r\n" if "\r\n" in text else "\n"


def find_line_end(text: str, offset: int) -> int:
    """Return the offset of the end of the line, before its line break."""
    match = _LINE_END.search(text, offset)
    return match.start() if match else len(text)


def find_line_start(text: str, offset: int) -> int:
    """Return the offset of the first character of the line; a byte order mark is not part of it."""
    start = max((match.end() for match in _LINE_END.finditer(text, 0, offset)), default=0)
    return start + 1 if text.startswith(_BYTE_ORDER_MARK, start) else start


def find_next_line(text: str, offset: int) -> int:
    """Return the offset of the first character of the next line; the end of the text, if there is none."""
    end = find_line_end(text, offset)
    match = _LINE_END.match(text, end)
    return match.end() if match else end


def column_of(text: str, offset: int) -> int:
    """Count the characters before `offset` on its line."""
    return offset - find_line_start(text, offset)


def starts_its_line(text: str, offset: int) -> bool:
    """Whether only spaces are before `offset` on its line."""
    return not text[find_line_start(text, offset) : offset].strip()


def skip_own_comments(text: str, offset: int, column: int) -> int:
    """Return the end of the line of `offset`, or of the last comment right below that is indented beyond `column`."""
    end = find_line_end(text, offset)
    while (start := find_next_line(text, end)) > end and (comment := _COMMENT_LINE.match(text, start)):
        if len(comment[1]) <= column:
            break
        end = comment.end()
    return end


def has_blank_line(text: str, start: int, end: int) -> bool:
    """Whether an empty line is between two offsets."""
    return bool(_BLANK_LINE.search(text, start, end))
