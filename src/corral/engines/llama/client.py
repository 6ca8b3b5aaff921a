"""HTTP towards one llama.cpp server on this machine: JSON in, JSON or a stream of events out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp

from corral.engines.http.reading import read_events, read_json
from corral.narrowing import as_list, as_number, as_object, as_text
from corral.work import EngineError, Json, TaskInvalidError

LARGEST_ANSWER = 512 * 2**20
"""Bytes; the vectors of one piece of `embed` stay far below."""
_LARGEST_REFUSAL = 2**20
_LOOK_S = 2.0
_IDLE_LOOK_S = 0.05


class ConnectionLostError(Exception):
    """The server closed the connection before its answer was whole, or does not listen."""


class LlamaClient:
    """One server; its key goes with each request."""

    def __init__(self, url: str, *, key: str) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {key}"}
        """Go with each request."""
        self._session = aiohttp.ClientSession(
            headers=self.headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_LOOK_S),  # the task's own time bounds an answer
            read_bufsize=2**20,
            # llama-server closes kept connections at times of its own, maybe just as the next request leaves.
            connector=aiohttp.TCPConnector(force_close=True),
        )

    @asynccontextmanager
    async def stream(self, path: str, body: dict[str, Json]) -> AsyncGenerator[AsyncIterator[dict[str, Json]]]:
        """Post, and get an answer event by event; leaving the block closes the connection, which ends the work.

        Raises: EngineError, ConnectionLostError.
        """
        async with self._post(path, body) as response:
            yield read_events(response.content.iter_any(), _fail)

    async def ask(self, path: str, body: dict[str, Json]) -> dict[str, Json]:
        """Post, and get one whole answer. Raises: EngineError, ConnectionLostError."""
        async with self._post(path, body) as response:
            return as_object(await read_json(response.content.iter_any(), _fail, bound=LARGEST_ANSWER))

    async def look(self, path: str) -> Json:
        """Get what the server says of itself. Raises: ConnectionLostError when it does not."""
        try:
            async with self._session.get(self.url + path, timeout=aiohttp.ClientTimeout(total=_LOOK_S)) as response:
                answer = await read_json(response.content.iter_any(), _fail)
        except (aiohttp.ClientError, OSError, TimeoutError, EngineError) as error:
            raise ConnectionLostError(str(error) or type(error).__name__) from error
        if response.status != 200:
            raise ConnectionLostError(f"{path} answered {response.status}")
        return answer

    async def wait_until_idle(self, others: Callable[[], int] = lambda: 0) -> None:
        """Return when the server computes nothing, or for no more than so many others.

        Raises: ConnectionLostError when it does not report that.
        """
        while await self._count_busy() > others():  # noqa: ASYNC110 (the server has no event for it)
            await asyncio.sleep(_IDLE_LOOK_S)

    async def _count_busy(self) -> int:
        return sum(bool(as_object(slot).get("is_processing")) for slot in as_list(await self.look("/slots")))

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    @asynccontextmanager
    async def _post(self, path: str, body: dict[str, Json]) -> AsyncGenerator[aiohttp.ClientResponse]:
        try:
            async with self._session.post(self.url + path, json=body) as response:
                if response.status != 200:
                    refusal = await read_json(response.content.iter_any(), _fail, bound=_LARGEST_REFUSAL)
                    raise make_refusal({"code": response.status, **as_object(as_object(refusal).get("error"))})
                yield response
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionLostError(str(error) or type(error).__name__) from error


def make_refusal(error: dict[str, Json]) -> EngineError:
    """Return the error that llama.cpp's server reported: the request's own below 500."""
    what = f"llama.cpp failed: {as_text(error.get('message')) or error}"
    code = as_number(error.get("code"))
    return TaskInvalidError(what) if code is not None and code < 500 else EngineError(what)


def _fail(what: str) -> EngineError:
    return EngineError(f"llama.cpp's answer cannot be read: {what}")
