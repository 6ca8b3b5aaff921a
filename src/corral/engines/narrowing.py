"""Narrowing of a remote engine's answers to the expected shape (else an empty one) and size; its address for messages.

The other side can be older, newer or patched; a field of another shape is treated like one that is absent.
"""

from __future__ import annotations

import json
from typing import cast
from urllib.parse import urlsplit, urlunsplit

from corral.work import Json

LARGEST_TEXT = 768 * 1024
"""Bytes, as a result's values are measured, of a text that is kept with the task: three quarters of
`corral.tasks.attempt_run.MAX_VALUES_BYTES`, so that tool calls have room too."""


def as_object(value: Json) -> dict[str, Json]:
    """Return `value` if it is a JSON object, else an empty one."""
    return cast("dict[str, Json]", value) if isinstance(value, dict) else {}  # JSON object keys are always text


def as_list(value: Json) -> list[Json]:
    """Return `value` if it is a JSON array, else an empty one."""
    return cast("list[Json]", value) if isinstance(value, list) else []


def as_text(value: Json) -> str:
    """Return `value` if it is text, else an empty one."""
    return value if isinstance(value, str) else ""


def as_number(value: Json) -> float | None:
    """Return `value` if it is a number, else None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def keep_short(text: str) -> str | None:
    """Return the text, or None where it is too long to be kept with the task as well as in its file.

    It is measured as JSON in ASCII: a Cyrillic letter takes 6 bytes there, a picture character 12.
    """
    return text if len(json.dumps(text)) <= LARGEST_TEXT else None


def strip_credentials(url: str) -> str:
    """Return `url` without user and password (a message must not show them): `http://u:secret@host:1` becomes `http://host:1`."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
