"""Asks the API server, and keeps copies of the objects of a kind that follow its watch."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp

from control_plane.simulator.objects import Json

MERGE = "application/merge-patch+json"
RECONNECT_S = 0.5


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Api:
    """A connection as administrator; `async with` opens and closes it."""

    def __init__(self, url: str, token: str, authority: Path) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "simulator"}
        self._trusted = ssl.create_default_context(cafile=str(authority))
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Api:
        connector = aiohttp.TCPConnector(ssl=self._trusted, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, method: str, path: str, body: Json = None, kind: str = "application/json") -> Json:
        """Send a request. Raises: ApiError; aiohttp.ClientError, TimeoutError when the server does not answer."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind}
        timeout = aiohttp.ClientTimeout(total=30)
        async with self._open().request(method, self._url + path, data=data, headers=headers, timeout=timeout) as reply:
            text = await reply.text()
            if reply.status < 400:
                return json.loads(text) if text.startswith("{") else text
            status: Json = json.loads(text) if text.startswith("{") else {}
            raise ApiError(reply.status, status.get("reason", ""), status.get("message", text))

    async def patch(self, path: str, body: Json) -> Json:
        """Merge a part into an object."""
        return await self.ask("PATCH", path, body, MERGE)

    async def follow(self, path: str, version: str) -> aiohttp.ClientResponse:
        """Open a watch from a version on."""
        where = f"{self._url}{path}?watch=true&allowWatchBookmarks=true&resourceVersion={version}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        return await self._open().get(where, timeout=timeout)

    def _open(self) -> aiohttp.ClientSession:
        assert self._session is not None, "used before it was opened"
        return self._session


class Mirror:
    """All objects of a kind, as the API server last reported them."""

    def __init__(self, api: Api, path: str, changed: Callable[[Json, bool], None] | None = None) -> None:
        """`changed` gets an object, and whether it is gone."""
        self._api = api
        self._path = path
        self._changed = changed
        self.objects: dict[tuple[str, str], Json] = {}
        """By namespace and name."""
        self.ready = asyncio.Event()
        """Set after the first list."""

    def find(self, namespace: str, name: str) -> Json:
        """Find an object; None when there is none."""
        return self.objects.get((namespace, name))

    async def run(self) -> None:
        """Follow until cancelled; a broken watch is opened again."""
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, ApiError):
                await self._follow(await self._list())
            await asyncio.sleep(RECONNECT_S)

    async def _list(self) -> str:
        value = await self._api.ask("GET", self._path)
        present = {_name(entry): entry for entry in value["items"]}
        for key in self.objects.keys() - present.keys():
            self._drop(self.objects[key])
        for entry in present.values():
            self._keep(entry)
        self.ready.set()
        return value["metadata"]["resourceVersion"]

    async def _follow(self, version: str) -> None:
        async with await self._api.follow(self._path, version) as reply:
            buffer = b""
            async for part, _ in reply.content.iter_chunks():
                *lines, buffer = (buffer + part).split(b"\n")
                for line in lines:
                    event: Json = json.loads(line)
                    match event["type"]:
                        case "ADDED" | "MODIFIED":
                            self._keep(event["object"])
                        case "DELETED":
                            self._drop(event["object"])
                        case "ERROR":
                            return
                        case _:
                            pass

    def _keep(self, value: Json) -> None:
        before = self.objects.get(_name(value))
        version = value["metadata"]["resourceVersion"]
        if before is not None and before["metadata"]["resourceVersion"] == version:
            return
        if before is not None and before["metadata"]["uid"] != value["metadata"]["uid"]:
            self._drop(before)
        self.objects[_name(value)] = value
        if self._changed is not None:
            self._changed(value, False)

    def _drop(self, value: Json) -> None:
        self.objects.pop(_name(value), None)
        if self._changed is not None:
            self._changed(value, True)


def _name(value: Json) -> tuple[str, str]:
    return value["metadata"].get("namespace", ""), value["metadata"]["name"]
