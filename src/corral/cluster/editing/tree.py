"""The places of the parts of a YAML text: for each value its first and last character, and how it is written.

Made from the parser's events. Its node graph would not do: in it an alias has the place of its anchor, and a block ends
where the next token starts, behind comments that are not its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from corral.cluster.document import Position, YamlPath, locate
from corral.cluster.parsing import TooLargeError, list_events

_BETWEEN = re.compile(r"(?:[\s\ufeff]+|#[^\r\n\x85\u2028\u2029]*)*")
"""Spaces, line ends and comments."""


class NotFollowedError(Exception):
    """The text is written in a way that is not followed here, such as `? key`; the editor reports it with the place."""


class Kind(Enum):
    """The kind of a value."""

    SCALAR = auto()
    MAPPING = auto()
    SEQUENCE = auto()
    ALIAS = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One value in the text."""

    kind: Kind
    start: int
    """Offset of its first character; of its anchor, if it has one."""
    end: int
    """Offset behind its last character, trailing comments left out."""
    is_flow: bool = True
    """Written inside brackets, or a scalar."""
    entries: tuple[Entry, ...] = ()

    @property
    def is_empty_scalar(self) -> bool:
        """Whether nothing is written where the value would be: `key:`."""
        return self.kind is Kind.SCALAR and self.start == self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One `key: value` of a mapping, or one item of a sequence."""

    start: int
    """Offset of the key, of the dash, or of the item itself inside brackets."""
    key_end: int
    """Offset behind the key and its colon, or behind the dash."""
    value: Part
    key: str | None = None

    @property
    def end(self) -> int:
        return max(self.key_end, self.value.end)


def parse(text: str) -> Part:
    """Find the parts of a text that `corral.cluster.parsing.read` takes. Raises: NotFollowedError."""
    try:
        events = iter(list_events(text))
    except TooLargeError as error:
        raise NotFollowedError(error.what) from error
    for event in events:
        if type(event).__name__ not in ("StreamStartEvent", "DocumentStartEvent"):
            return _Reader(text, events).read_part(event)
    raise NotFollowedError("the text is empty")


def find(root: Part, path: YamlPath) -> tuple[Part, ...]:
    """Follow a path; return the parts on it, the top first. Raises: NotFollowedError when it leads through an alias."""
    parts = [root]
    for step in path:
        parts.append(find_entry(parts[-1], step).value)
    return tuple(parts)


def find_entry(part: Part, step: str | int) -> Entry:
    """Return the entry of a key or index. Raises: NotFollowedError when the text has it from elsewhere (`*x`, `<<`)."""
    if part.kind is Kind.SEQUENCE and isinstance(step, int) and step < len(part.entries):
        return part.entries[step]
    for entry in part.entries if part.kind is Kind.MAPPING else ():
        if entry.key == step:
            return entry
    raise NotFollowedError(f"`{step}` is not written there itself")


def skip_gap(text: str, offset: int) -> int:
    """Return the offset behind spaces, line ends and comments."""
    match = _BETWEEN.match(text, offset)
    return match.end() if match else offset


class _Reader:
    """Turns events into parts, one call for each value."""

    def __init__(self, text: str, events: Iterator[Any]) -> None:  # ruamel's events have no types of their own
        self._text = text
        self._events = events

    def read_part(self, event: Any) -> Part:
        """Read the value that starts with this event."""
        start, end = event.start_mark.index, event.end_mark.index
        name = type(event).__name__
        if name == "AliasEvent":
            return Part(kind=Kind.ALIAS, start=start, end=end)
        if name == "ScalarEvent":
            return Part(kind=Kind.SCALAR, start=start, end=start + len(self._text[start:end].rstrip()))
        is_mapping = name == "MappingStartEvent"
        kind = Kind.MAPPING if is_mapping else Kind.SEQUENCE
        is_flow = bool(event.flow_style)
        entries, closing = self._read_pairs() if is_mapping else self._read_items(start, end, is_flow=is_flow)
        last = closing if is_flow else max((entry.end for entry in entries), default=end)
        return Part(kind=kind, start=start, end=last, is_flow=is_flow, entries=tuple(entries))

    def _read_pairs(self) -> tuple[list[Entry], int]:
        entries: list[Entry] = []
        for event in self._events:
            if type(event).__name__ == "MappingEndEvent":
                return entries, event.end_mark.index
            key = self.read_part(event)
            colon = skip_gap(self._text, key.end)
            is_plain = key.kind is Kind.SCALAR and self._text[colon : colon + 1] == ":"
            if not is_plain or "\n" in self._text[key.end : colon]:
                raise NotFollowedError("a key is written with `?` or is not text")
            value = _place_empty(self.read_part(next(self._events)), colon + 1)
            entries.append(Entry(start=key.start, key_end=colon + 1, value=value, key=str(event.value)))
        raise NotFollowedError("a list or mapping has no end")

    def _read_items(self, start: int, first: int, *, is_flow: bool) -> tuple[list[Entry], int]:
        entries: list[Entry] = []
        before = start if self._text[start : start + 1] == "-" else first
        for event in self._events:
            if type(event).__name__ == "SequenceEndEvent":
                return entries, event.end_mark.index
            if is_flow:
                item = self.read_part(event)
                entries.append(Entry(start=item.start, key_end=item.start, value=item))
                continue
            dash = skip_gap(self._text, before)
            if self._text[dash : dash + 1] != "-":
                raise NotFollowedError("a list is not written with dashes or brackets")
            item = _place_empty(self.read_part(event), dash + 1)
            entries.append(Entry(start=dash, key_end=dash + 1, value=item))
            before = entries[-1].end
        raise NotFollowedError("a list or mapping has no end")


def _place_empty(value: Part, offset: int) -> Part:
    """Put a value of which nothing is written right behind its colon or dash; the parser puts it at the next token."""
    return Part(kind=Kind.SCALAR, start=offset, end=offset) if value.is_empty_scalar else value


_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#[^\r\n]*", re.MULTILINE)


def list_comments(text: str) -> list[tuple[Position, str]]:
    """List the comments of a text, each with its place; none when the text is written in a way that is not followed."""
    try:
        scalars = sorted(_iterate_scalars(parse(text)))
    except NotFollowedError:
        return []
    matches = [match for match in _COMMENT.finditer(text) if not _is_inside(match.start(), scalars)]
    return [(locate(text, match.start()), match[0]) for match in matches]


def _iterate_scalars(part: Part) -> Iterator[tuple[int, int]]:
    if part.kind is Kind.SCALAR:
        yield part.start, part.end
    for entry in part.entries:
        yield entry.start, entry.key_end
        yield from _iterate_scalars(entry.value)


def _is_inside(offset: int, spans: list[tuple[int, int]]) -> bool:
    return any(start <= offset < end for start, end in spans)
