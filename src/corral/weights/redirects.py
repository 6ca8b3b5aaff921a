"""Checks each redirect of a download: a server elsewhere must not lead into this network, nor out of TLS.

Belongs here: which redirects are refused.
Does not belong here: downloads themselves.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit

from corral.weights.errors import SourceError

if TYPE_CHECKING:
    import aiohttp


def find_redirect_problem(source: str, target: str) -> str | None:
    """Return why a download must not go on from one URL to another; None when it can.

    Names are not looked up: a name that its owner points into this network is not noticed here.
    """
    before, after = urlsplit(source), urlsplit(target)
    if after.scheme not in ("http", "https"):
        return f"the redirect is to {after.scheme or 'no scheme'}, not to http or https"
    if before.scheme == "https" and after.scheme == "http":
        return "the redirect leaves TLS"
    if _is_inside(after) and not _is_inside(before):
        return f"the redirect is into this network, to {after.hostname!r}"
    return None


def make_redirect_checks() -> aiohttp.TraceConfig:
    """Return what a session needs so that each of its redirects is checked. It raises SourceError."""
    import aiohttp

    checks = aiohttp.TraceConfig()

    async def check(_: aiohttp.ClientSession, __: object, redirect: aiohttp.TraceRequestRedirectParams) -> None:
        source = str(redirect.url)
        target = urljoin(source, redirect.response.headers.get("Location", ""))
        problem = find_redirect_problem(source, target)
        if problem is not None:
            raise SourceError(problem, where=source.partition("?")[0], hint="name the file at its own address")

    checks.on_request_redirect.append(check)
    return checks


def _is_inside(url: SplitResult) -> bool:
    host = url.hostname or ""
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host  # a name without a domain is one of this network
