"""Where a server that is reached by URL is asked by others: its address without secrets, and what goes along."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from corral.engines.narrowing import strip_credentials
from corral.work import PASSED_ON, Dialect, Endpoint

PASSED_ON_HEADERS: Mapping[str, str] = MappingProxyType({PASSED_ON: "1"})
"""Go with every request of Corral's own, too."""


def make_endpoint(url: str, headers: Mapping[str, str], *dialects: Dialect, model: str | None = None) -> Endpoint:
    """Return the endpoint at a URL; a user and a password in it become a header (RFC 7617)."""
    address, own = _split(url)
    return Endpoint(
        url=address, headers={**own, **headers, **PASSED_ON_HEADERS}, dialects=frozenset(dialects), model=model
    )


@lru_cache(maxsize=1024)
def _split(url: str) -> tuple[str, Mapping[str, str]]:
    """Return a URL without user and password, and the header that they become; each guest needs it anew."""
    parts = urlsplit(url)
    own: dict[str, str] = {}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        own["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    return strip_credentials(url).rstrip("/"), MappingProxyType(own)
