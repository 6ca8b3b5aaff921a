"""Types that every part of a request is checked with, so that PostgreSQL never sees what it cannot hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints, WithJsonSchema

from corral.units import Bytes, UnitError, parse_bytes, parse_duration

MAX_BIGINT = 2**63 - 1
_MAX_SPELLING = 32
"""Characters of a size or a duration; the longest sensible one has about ten."""
_FIRST_YEAR, _LAST_YEAR = 1970, 9998
"""Years whose instants keep inside Python's and PostgreSQL's range in every time zone."""


def _storable(text: str) -> str:
    """Refuse what PostgreSQL's `text` cannot hold (JSON bodies are checked as a whole, in `strict_json`)."""
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("a NUL character or half of a surrogate pair cannot be stored")
    return text


def _size(value: object) -> Bytes:
    if isinstance(value, bool) or not isinstance(value, int | str) or len(str(value)) > _MAX_SPELLING:
        raise ValueError("a size is a number of bytes, or text such as 8Gi")
    try:
        size = parse_bytes(value)
    except UnitError as error:
        raise ValueError(error.what) from error
    if size > MAX_BIGINT:
        raise ValueError("a size is below 8 EiB")
    return size


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > _MAX_SPELLING:
        raise ValueError("a duration is a number of seconds, or text such as 10m")
    try:
        duration = parse_duration(value)
    except UnitError as error:
        raise ValueError(error.what) from error
    if duration <= timedelta(0):
        raise ValueError("a duration is above zero")
    return duration.total_seconds()


def _text_only(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("an instant is text such as 2026-01-31T08:00:00Z")
    return value


def _in_utc(instant: datetime) -> datetime:
    if not _FIRST_YEAR <= instant.year <= _LAST_YEAR:
        raise ValueError(f"the year lies between {_FIRST_YEAR} and {_LAST_YEAR}")
    return instant.astimezone(UTC)


Id = Annotated[int, Field(ge=1, le=MAX_BIGINT)]
"""Names a task or a batch."""
EventId = Annotated[int, Field(ge=0, le=MAX_BIGINT)]
"""Names a line of the story; 0 stands before the first."""
Word = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]
"""A name: of a task, a queue, an engine, a slot."""
LongWord = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_storable)]
"""A name that may be a path or a URL: of a model."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256, 64 lower-case hexadecimal digits."""
Size = Annotated[
    Bytes,
    BeforeValidator(_size),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^[0-9]{1,9}(Ki|Mi|Gi|Ti)?$"}, {"type": "integer"}]}),
]
"""Bytes, or text such as `8Gi`."""
Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^[1-9][0-9]{0,5}(s|m|h)$"}, {"type": "number"}]}),
]
"""Seconds, or text such as `10m`."""
Instant = Annotated[AwareDatetime, BeforeValidator(_text_only), AfterValidator(_in_utc)]
"""RFC 3339 with an offset; kept in UTC."""
