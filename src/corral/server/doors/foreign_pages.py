"""Which requests of browsers a listener without keys trusts: those for its own pages.

Any page that a browser shows can send requests to this network. So what a browser sends must be for a page of this very
address, and that must not be a name of the internet, which its owner can lead to any address (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

_LOCAL_ENDINGS = (".local", ".lan", ".home", ".internal", ".home.arpa", ".localhost", ".localdomain")
"""Names of home and container networks, which no page of the internet can have (RFC 6762, RFC 8375, RFC 6761)."""


def explain_foreign_page(headers: Mapping[str, str], link: str | None) -> str | None:
    """Say why a request without a key is not trusted; None when it is, or no browser sent it.

    `headers` has lower-case names; `link` is the address under which people reach the server, whose name is trusted.
    """
    origin = headers.get("origin")
    is_browser = origin is not None or "sec-fetch-site" in headers or "Mozilla/" in headers.get("user-agent", "")
    if not is_browser:
        return None
    host = _read_netloc(f"//{headers.get('host', '')}")
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return "a browser sent it for a page of another site"
    if origin is not None and _read_netloc(origin) != host:
        return f"the Origin header {origin[:80]!r} is not this listener"
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if _is_local_name(name.strip("[]")) or (link is not None and name == (urlsplit(link).hostname or "")):
        return None
    return f"the Host header {host[:80]!r} is a name of the internet"


def _read_netloc(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _is_local_name(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(_LOCAL_ENDINGS))
    return True
