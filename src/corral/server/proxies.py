"""Reverse proxies that the cluster file trusts: their word for the client's address and protocol counts, no other's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

PROXY_HEADERS = ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded")
"""What proxies add; a request with one of these did not come from where its connection did."""


class TrustedProxies:
    """ASGI middleware: `X-Forwarded-For` and `X-Forwarded-Proto` of trusted proxies become the client and the scheme.

    Of several addresses, the last one that is not a trusted proxy itself is the client's.
    """

    def __init__(self, app: Any, *, networks: Callable[[], tuple[str, ...]]) -> None:  # any ASGI application
        """`networks` returns the addresses and networks in effect."""
        self._app = app
        self._networks = networks
        self._known: tuple[str, ...] = ()
        self._behind: Any = app  # as `app`

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # ASGI's own types
        """Serve one request."""
        networks = self._networks()
        if networks != self._known:
            self._behind = ProxyHeadersMiddleware(self._app, list(networks)) if networks else self._app
            self._known = networks
        await self._behind(scope, receive, send)
