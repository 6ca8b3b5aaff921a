"""HTTP towards one llama.cpp server on this machine: JSON in, JSON or a stream of events out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from corral.engines.llama.reply import make_refusal
from corral.engines.narrowing import as_list, as_object
from corral.work import EngineError, Json

LARGEST_ANSWER = 512 * 2**20
"""Bytes; the vectors of one piece of `embed` stay far below."""
_LARGEST_EVENT = 16 * 2**20
_LARGEST_REFUSAL = 2**20
_PARSED_AT_ONCE = 2**20
"""Bytes that are parsed on the event loop; more of them would hold it for longer than other slots should wait."""
_LOOK_S = 2.0
_IDLE_LOOK_S = 0.05
_DATA = b"data:"
_DONE = b"[DONE]"


class ConnectionLostError(Exception):
    """The server closed the connection before its answer was whole, or does not listen."""


class LlamaClient:
    """One server; its key goes with each request."""

    def __init__(self, url: str, *, key: str) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_LOOK_S),  # the task's own time bounds an answer
            read_bufsize=2**20,
            # llama-server closes a connection that was idle for some seconds, maybe just as the next request leaves.
            connector=aiohttp.TCPConnector(force_close=True),
        )

    @asynccontextmanager
    async def stream(self, path: str, body: dict[str, Json]) -> AsyncGenerator[AsyncIterator[dict[str, Json]]]:
        """Post, and get an answer event by event; leaving the block closes the connection, which ends the work.

        Raises: EngineError, ConnectionLostError.
        """
        async with self._post(path, body) as response:
            yield self._read_events(response)

    async def ask(self, path: str, body: dict[str, Json]) -> dict[str, Json]:
        """Post, and get one whole answer. Raises: EngineError, ConnectionLostError."""
        async with self._post(path, body) as response:
            return as_object(await _read_whole(response, LARGEST_ANSWER))

    async def look(self, path: str) -> Json:
        """Get what the server says of itself. Raises: ConnectionLostError when it does not."""
        try:
            async with self._session.get(self._url + path, timeout=aiohttp.ClientTimeout(total=_LOOK_S)) as response:
                answer = _parse(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError, EngineError) as error:
            raise ConnectionLostError(str(error) or type(error).__name__) from error
        if response.status != 200:
            raise ConnectionLostError(f"{path} answered {response.status}")
        return answer

    async def wait_until_idle(self) -> None:
        """Return when the server computes nothing. Raises: ConnectionLostError when it does not report that."""
        while any(as_object(slot).get("is_processing") for slot in as_list(await self.look("/slots"))):  # noqa: ASYNC110
            await asyncio.sleep(_IDLE_LOOK_S)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    @asynccontextmanager
    async def _post(self, path: str, body: dict[str, Json]) -> AsyncGenerator[aiohttp.ClientResponse]:
        try:
            async with self._session.post(self._url + path, json=body) as response:
                if response.status != 200:
                    error = as_object(as_object(await _read_whole(response, _LARGEST_REFUSAL)).get("error"))
                    raise make_refusal({"code": response.status, **error})
                yield response
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionLostError(str(error) or type(error).__name__) from error

    async def _read_events(self, response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Json]]:
        rest = b""
        async for piece in response.content.iter_any():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                data = line.removeprefix(_DATA).strip()
                if line.startswith(_DATA) and data != _DONE:
                    yield as_object(_parse(data))
            if len(rest) > _LARGEST_EVENT:
                raise EngineError(f"llama.cpp sent an event of more than {_LARGEST_EVENT} bytes")


async def _read_whole(response: aiohttp.ClientResponse, bound: int) -> Json:
    """Read one JSON value; `content.read` returns what has arrived, which of a large answer is a part."""
    gathered = bytearray()
    async for piece in response.content.iter_any():
        gathered += piece
        if len(gathered) > bound:
            raise EngineError(f"llama.cpp's answer has more than {bound} bytes")
    whole = bytes(gathered)
    return _parse(whole) if len(whole) <= _PARSED_AT_ONCE else await asyncio.to_thread(_parse, whole)


def _parse(text: bytes) -> Json:
    try:
        return json.loads(text)
    except ValueError as error:
        raise EngineError(f"llama.cpp's answer cannot be read: {text[:80].decode(errors='replace')!r}") from error
