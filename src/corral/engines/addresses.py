"""Addresses of remote engines, as they may be shown: a URL can carry a password, and a message must not."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def without_credentials(url: str) -> str:
    """Return `url` without user and password: `http://u:secret@host:1` becomes `http://host:1`."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
