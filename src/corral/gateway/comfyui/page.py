"""Passes on what Corral does not own: the page, settings, saved workflows; one instance for each browser.

A browser keeps its instance by a cookie: what it saved on one is not on the others. Where that instance is away, a
request that changes nothing goes to the next one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import quote, unquote
from uuid import uuid4

import aiohttp
import structlog
from yarl import URL

from corral.errors import CorralError, Kind
from corral.gateway.asgi import ClientGoneError, Exchange, Scope
from corral.gateway.comfyui.workshop import Workshop
from corral.gateway.relay import list_passed_headers

_log = structlog.get_logger()

COOKIE = "corral_comfyui"
CONNECT_S = 5.0
SILENCE_S = 120.0
"""Until an instance that sends nothing counts as gone; it holds its interpreter lock while it loads a model."""
_CHUNK = 256 * 1024
_KEPT_BACK = frozenset({"host", "origin", "referer", "cookie", "authorization", "x-api-key", "content-length"})
"""An instance refuses an Origin that is not its own, and a visitor's key and cookies are Corral's."""
_OF_ALL_OWNERS = ("/internal/logs", "/internal/files/output", "/internal/files/temp")
"""The work of everybody: the log of an instance, and the names of its files."""


_JOINED = "corral-masks"
"""The folder, in an instance's own `temp`, of pictures that it puts masks on; an instance empties it when it starts."""
_JOINING_S = 60.0


class InstanceGoneError(Exception):
    """An instance did not answer."""


class NoInstanceError(CorralError):
    """No instance did what only an instance can do."""

    code: ClassVar[str] = "comfyui.no_instance"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class Passer:
    """Passes requests on to instances."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._session: aiohttp.ClientSession | None = None

    async def pass_on(self, exchange: Exchange, path: str) -> bool:
        """Let an instance answer; False where none does. `path` is the instance's own, percent-encoded."""
        addresses = self._workshop.list_addresses()
        wanted = self._read_wanted(exchange)
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

    async def pass_on_to_all(self, exchange: Exchange, path: str) -> bool:
        """Let every instance take an upload, and that of the browser answer; False where none does."""
        addresses = self._workshop.list_addresses()
        answering = min(addresses, key=lambda name: (name != self._read_wanted(exchange), name), default=None)
        others = [address for name, address in addresses.items() if name != answering]
        await exchange.read_body()
        await asyncio.gather(*(self._send_copy(exchange, url, path, headers) for url, headers in others))
        return await self.pass_on(exchange, path)

    async def _send_copy(self, exchange: Exchange, url: str, path: str, headers: Mapping[str, str]) -> None:
        """Let one more instance take an upload; what it answers is for the log alone."""
        try:
            async with await self._request(exchange, url, path, headers) as response:
                await response.read()
            if response.status >= 400:
                _log.warning("comfyui_upload_refused", url=url, path=path, status=response.status)
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            _log.warning("comfyui_upload_missed", url=url, path=path, error=str(error) or type(error).__name__)

    async def join_mask(self, picture: bytes, mask: bytes) -> bytes:
        """Let an instance put a mask on a picture, and return its file. Raises: NoInstanceError."""
        problems: list[str] = []
        for name, (url, headers) in sorted(self._workshop.list_addresses().items()):
            try:
                return await self._join_there(url, headers, picture, mask)
            except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
                problems.append(f"{name}: {error or type(error).__name__}")
        reasons = "; ".join(problems) or "none runs now"
        raise NoInstanceError(f"no ComfyUI instance put the mask on its picture ({reasons})", hint="try again")

    async def _join_there(self, url: str, headers: Mapping[str, str], picture: bytes, mask: bytes) -> bytes:
        name = uuid4().hex
        place = {"subfolder": _JOINED, "type": "temp"}
        original = {"filename": f"{name}-original.png", **place}
        steps: tuple[tuple[str, str, bytes, Mapping[str, str]], ...] = (
            ("/upload/image", original["filename"], picture, {}),
            ("/upload/mask", f"{name}.png", mask, {"original_ref": json.dumps(original)}),
        )
        session, base = self._open_session(), url.rstrip("/")
        limit = aiohttp.ClientTimeout(total=_JOINING_S, sock_connect=CONNECT_S)
        for path, filename, content, more in steps:
            form = aiohttp.FormData({**place, "overwrite": "true", **more})
            form.add_field("image", content, filename=filename, content_type="image/png")
            async with session.post(
                f"{base}{path}", data=form, headers=headers, timeout=limit, raise_for_status=True
            ) as answer:
                await answer.read()
        query = {"filename": f"{name}.png", **place}
        async with session.get(
            f"{base}/view", params=query, headers=headers, timeout=limit, raise_for_status=True
        ) as answer:
            return await answer.read()

    async def fetch(
        self, exchange: Exchange, url: str, path: str, headers: Mapping[str, str], *, cookie: str | None = None
    ) -> None:
        """Send a request on to an instance, and its answer back as it comes. Raises: InstanceGoneError."""
        try:
            async with await self._request(exchange, url, path, headers) as response:
                passed = list_passed_headers(response.raw_headers)
                pairs = [(name, value) for name, value in passed if name != b"set-cookie"]
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

    async def _request(
        self, exchange: Exchange, url: str, path: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        query = exchange.scope["query_string"].decode("latin-1")
        passed = list_passed_headers(exchange.scope["headers"])
        pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in passed)
        sent = {name: value for name, value in pairs if name not in _KEPT_BACK} | dict(headers)
        return await self._open_session().request(
            exchange.method,
            URL(f"{url.rstrip('/')}{path}{'?' if query else ''}{query}", encoded=True),
            headers=sent,
            data=await exchange.read_body() or None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S),
        )

    def _read_wanted(self, exchange: Exchange) -> str | None:
        return read_cookie(exchange.headers.get("cookie", ""))

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
