"""The server of a data directory or at a URL, found anew for each request.

A client of the tools lives for days. A server that was started anew meanwhile can have another port, and has another
token.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from corral.client.api import Api
from corral.client.connection import locate
from corral.client.requests import ANSWER_S, Content, Query, ServerApi
from corral.mcp.answers import ToolContext
from corral.work import Json


class LocatedApi(ServerApi):
    """The HTTP API of the server that runs now. Each request raises NoServerError where none does."""

    def __init__(self, url: str | None, data_dir: Path | None) -> None:
        """Use the server at the URL, else that of the data directory."""
        self._url = url
        self._data_dir = data_dir

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
        async with self._open() as api:
            return await api.send(
                method, path, query=query, body=body, content=content, headers=headers, within_s=within_s
            )

    async def read(self, path: str) -> AsyncIterator[bytes]:
        async with self._open() as api:
            async for chunk in api.read(path):
                yield chunk

    def make_link(self, path: str) -> str:
        """Return the URL of a path of the server. Raises: NoServerError."""
        return locate(self._url, self._data_dir).url.rstrip("/") + path

    def _open(self) -> Api:
        server = locate(self._url, self._data_dir)
        return Api(server.url, server.token)


def make_context(url: str | None, data_dir: Path | None) -> ToolContext:
    """Return the context of calls by a program of this machine, whose relative paths start where it does."""
    api = LocatedApi(url, data_dir)
    return ToolContext(api=api, make_link=api.make_link, folder=Path.cwd())
