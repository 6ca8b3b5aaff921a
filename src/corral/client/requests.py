"""Requests to a server, and their answers as JSON, whatever way they go.

`Api` sends them over the network. A server that uses its own API sends them to itself, without a connection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from io import BufferedReader
from pathlib import Path

from corral.work import Json

PAGE = 500
"""The most that the server lists in one answer."""
ANSWER_S = 90.0
"""Seconds until a server counts as silent; the longest that it can hold an answer back is 60 s (`wait`)."""

Query = Mapping[str, str | int] | list[tuple[str, str | int]]
Content = bytes | BufferedReader


class ServerApi(ABC):
    """The HTTP API of one server."""

    @abstractmethod
    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),  # pyright: ignore[reportArgumentType]  nothing, of either kind
        body: Json = None,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        within_s: float = ANSWER_S,
    ) -> Json:
        """Send a request and read its answer; `body` is sent as JSON, `content` as it is. Raises: RemoteError."""

    @abstractmethod
    def read(self, path: str) -> AsyncIterator[bytes]:
        """Read a file piece by piece. Raises: RemoteError."""

    async def get(self, path: str, query: Query = ()) -> Json:  # pyright: ignore[reportArgumentType]
        """Read one thing. Raises: RemoteError."""
        return await self.send("GET", path, query=query)

    async def post(
        self, path: str, body: Json = None, *, idempotency_key: str | None = None, within_s: float = ANSWER_S
    ) -> Json:
        """Ask for a change; the answer comes within that time. Raises: RemoteError."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        content: Json = {} if body is None else body
        return await self.send("POST", path, body=content, headers=headers, within_s=within_s)

    async def delete(self, path: str, query: Query = ()) -> Json:  # pyright: ignore[reportArgumentType]
        """Remove one thing. Raises: RemoteError."""
        return await self.send("DELETE", path, query=query)

    async def read_list(self, path: str, query: list[tuple[str, str | int]], *, limit: int | None = None) -> list[Json]:
        """Read a list over its pages, up to `limit` entries. Raises: RemoteError."""
        return (await self.read_page(path, query, limit=limit))["items"]

    async def read_page(self, path: str, query: list[tuple[str, str | int]], *, limit: int | None = None) -> Json:
        """Read a list over its pages as one page of up to `limit` entries. Raises: RemoteError."""
        page: Json = {}
        entries: list[Json] = []
        cursor: str | int | None = None
        while limit is None or len(entries) < limit:
            size = PAGE if limit is None else min(PAGE, limit - len(entries))
            page = await self.get(path, [*query, ("limit", size), *([("cursor", cursor)] if cursor else [])])
            entries.extend(page["items"])
            cursor = page.get("next")
            if not cursor:
                break
        return {**page, "items": entries, "next": cursor}

    async def upload(self, path: Path) -> Json:
        """Send an input file. Raises: RemoteError."""
        with path.open("rb") as file:
            return await self.send("POST", "/corral/v1/uploads", query={"name": path.name}, content=file)

    async def upload_content(self, content: bytes, name: str) -> Json:
        """Send the content of an input file. Raises: RemoteError."""
        return await self.send("POST", "/corral/v1/uploads", query={"name": name}, content=content)
