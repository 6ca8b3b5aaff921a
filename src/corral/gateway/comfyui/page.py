"""Passes on what Corral does not own: the page, settings, saved workflows; one instance for each browser.

A browser keeps its instance by a cookie: what it saved on one is not on the others. Where that instance is away, a
request that changes nothing goes to the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote

import aiohttp
from yarl import URL

from corral.gateway.asgi import ClientGoneError, Exchange, Scope
from corral.gateway.comfyui.workshop import Workshop

COOKIE = "corral_comfyui"
CONNECT_S = 5.0
SILENCE_S = 120.0
"""Until an instance that sends nothing counts as gone; it holds its interpreter lock while it loads a model."""
_CHUNK = 256 * 1024
_OF_ONE_CONNECTION = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade"),
    }
)
_KEPT_BACK = _OF_ONE_CONNECTION | {
    *("host", "origin", "referer", "cookie", "authorization", "x-api-key", "content-length")
}
"""An instance refuses an Origin that is not its own, and a visitor's key and cookies are Corral's."""
_OUR_OWN = _OF_ONE_CONNECTION | {"set-cookie"}


_OF_ALL_OWNERS = ("/internal/logs", "/internal/files/output", "/internal/files/temp")
"""The work of everybody: the log of an instance, and the names of its files."""


class InstanceGoneError(Exception):
    """An instance did not answer."""


class Passer:
    """Passes requests on to instances."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._session: aiohttp.ClientSession | None = None

    async def pass_on(self, exchange: Exchange, path: str) -> bool:
        """Let an instance answer; False where none does. `path` is the instance's own, percent-encoded."""
        addresses = self._workshop.list_addresses()
        wanted = read_cookie(exchange.headers.get("cookie", ""))
        names = sorted(addresses, key=lambda name: (name != wanted, name))
        is_safe = exchange.method in ("GET", "HEAD", "OPTIONS")
        for name in names if is_safe else names[:1]:
            url, headers = addresses[name]
            try:
                await self.fetch(exchange, url, path, headers, cookie=None if name == wanted else name)
            except InstanceGoneError:
                continue
            return True
        return False

    async def fetch(
        self, exchange: Exchange, url: str, path: str, headers: Mapping[str, str], *, cookie: str | None = None
    ) -> None:
        """Send a request on to an instance, and its answer back as it comes. Raises: InstanceGoneError."""
        query = exchange.scope["query_string"].decode("latin-1")
        sent = {name: value for name, value in exchange.headers.items() if name not in _KEPT_BACK} | dict(headers)
        body = await exchange.read_body()
        try:
            async with self._open_session().request(
                exchange.method,
                URL(f"{url.rstrip('/')}{path}{'?' if query else ''}{query}", encoded=True),
                headers=sent,
                data=body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S),
            ) as response:
                pairs = [
                    (name.lower(), value)
                    for name, value in response.raw_headers
                    if name.lower().decode("latin-1") not in _OUR_OWN
                ]
                if cookie is not None:
                    pairs.append((b"set-cookie", f"{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict".encode()))
                await exchange.start(response.status, pairs)
                async for chunk in response.content.iter_chunked(_CHUNK):
                    await exchange.write(chunk)
                await exchange.end()
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            if exchange.started:
                raise ClientGoneError from error  # the answer cannot be taken back: the connection ends
            raise InstanceGoneError(str(error)) from error

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


def find_raw_path(scope: Scope, prefix: str) -> str | None:
    """Return the path below `prefix` as it came, percent-encoded; None for one that no instance is asked for.

    A path is passed on as it was judged: decoded or shortened, `/history%3F` and `/x/../history` would be the
    instance's own history, which has the prompts of all owners.
    """
    raw = scope.get("raw_path")
    whole = quote(scope["path"]) if raw is None else raw.decode("latin-1")
    path = whole.removeprefix(prefix)
    plain = unquote(path)
    is_plain = path != whole and path.startswith("/") and "#" not in path and not {".", ".."} & {*plain.split("/")}
    return path if is_plain and not plain.startswith(_OF_ALL_OWNERS) else None


def read_cookie(header: str) -> str | None:
    """Return the instance that a browser has had, by its cookies."""
    for pair in header.split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value
    return None
