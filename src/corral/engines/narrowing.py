"""How much text of a remote engine is kept with a task; its address for messages."""

from __future__ import annotations

import json
from urllib.parse import urlsplit, urlunsplit

LARGEST_TEXT = 768 * 1024
"""Bytes, as a result's values are measured, of a text that is kept with the task: three quarters of
`corral.tasks.attempt_run.MAX_VALUES_BYTES`, so that tool calls have room too."""


def keep_short(text: str) -> str | None:
    """Return the text, or None where it is too long to be kept with the task as well as in its file.

    It is measured as JSON in ASCII: a Cyrillic letter takes 6 bytes there, a picture character 12.
    """
    return text if len(json.dumps(text)) <= LARGEST_TEXT else None


def strip_credentials(url: str) -> str:
    """Return `url` without user and password (a message must not show them): `http://u:secret@host:1` becomes `http://host:1`."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
