"""HTTP towards one Ollama server: JSON in, JSON or lines of JSON out; deadlines, bounds and translated failures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from corral.engines.answers import as_object, as_text, strip_credentials
from corral.engines.ollama.errors import (
    AdapterClosedError,
    ServerAnswerError,
    ServerUnreachableError,
    shorten,
    translate_refusal,
)
from corral.work import Json

LARGEST_ANSWER = 512 * 2**20
"""Bytes of one answer; a hundred thousand embeddings of four thousand numbers each stay below."""
SMALL_ANSWER = 2**20
"""Bytes that are parsed at once; more of them take longer than the event loop should wait."""
LARGEST_LINE = 16 * 2**20
"""Bytes of one streamed line; the last one carries the context's tokens."""

SessionFactory = Callable[[], aiohttp.ClientSession]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Deadlines and intervals, all in seconds."""

    check_s: float = 5.0
    """Any look at the server that computes nothing."""
    silence_s: float = 600.0
    """Between two pieces of an answer; the first one waits for the model to load, from a slow disk for minutes."""
    release_s: float = 30.0
    """Until unloaded models must be gone."""
    retry_s: float = 0.25
    """Between two looks at whether they are."""


def open_session() -> aiohttp.ClientSession:
    """Open a session without a deadline of its own; each request brings one."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))


class OllamaClient:
    """One server by URL; opens its session on the first request, inside the running loop."""

    def __init__(self, url: str, *, timings: Timings, session: SessionFactory = open_session) -> None:
        self._base = url.rstrip("/")
        self.url = strip_credentials(self._base)
        """Where the server is, for messages."""
        self._timings = timings
        self._open = session
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def look(self, path: str) -> dict[str, Json]:
        """Get the server's description of itself, within `check_s`. Raises: EngineError."""
        try:
            async with asyncio.timeout(self._timings.check_s), self._request("GET", path, None, None) as response:
                return as_object(await self._read_json(response))
        except TimeoutError as error:
            raise self._describe_failure(path, error) from error

    async def ask(self, path: str, body: dict[str, Json]) -> dict[str, Json]:
        """Post and get one whole answer. Raises: EngineError."""
        async with self._request("POST", path, body, as_text(body.get("model"))) as response:
            return as_object(await self._read_json(response))

    @asynccontextmanager
    async def stream(self, path: str, body: dict[str, Json]) -> AsyncGenerator[AsyncIterator[dict[str, Json]]]:
        """Post and get an answer line by line; leaving the block ends the work on the server. Raises: EngineError."""
        async with self._request("POST", path, body, as_text(body.get("model"))) as response:
            yield self._read_lines(response)

    async def close(self) -> None:
        """Drop every connection for good."""
        self._closed = True
        await self.drop()

    async def drop(self) -> None:
        """Drop every connection, which ends what the server does for us; the next request opens anew."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: Json, model: str | None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        if self._closed:
            raise AdapterClosedError("the engine was closed", where=self.url)
        if self._session is None:
            self._session = self._open()
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._timings.check_s, sock_read=self._timings.silence_s
        )
        try:
            async with self._session.request(method, f"{self._base}{path}", json=body, timeout=timeout) as response:
                if response.status != 200:
                    raise translate_refusal(response.status, await _read_message(response), model=model, where=self.url)
                yield response
        except (aiohttp.ClientError, ConnectionError, aiohttp.ServerTimeoutError) as error:
            raise self._describe_failure(path, error) from error

    async def _read_json(self, response: aiohttp.ClientResponse) -> Json:
        pieces = bytearray()
        async for piece in response.content.iter_any():
            pieces += piece
            if len(pieces) > LARGEST_ANSWER:
                raise ServerAnswerError(f"the answer is larger than {LARGEST_ANSWER} bytes", where=self.url)
        # A large answer takes long to read: not on the loop that every slot shares.
        whole = bytes(pieces)
        return self._parse(whole) if len(whole) < SMALL_ANSWER else await asyncio.to_thread(self._parse, whole)

    async def _read_lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Json]]:
        rest = bytearray()
        async for piece in response.content.iter_any():
            rest += piece
            *lines, last = rest.split(b"\n")
            rest = bytearray(last)
            for line in lines:
                if line.strip():
                    yield as_object(self._parse(bytes(line)))
            if len(rest) > LARGEST_LINE:
                raise ServerAnswerError(f"a line is longer than {LARGEST_LINE} bytes", where=self.url)
        if rest.strip():
            yield as_object(self._parse(bytes(rest)))

    def _parse(self, text: bytes) -> Json:
        try:
            return json.loads(text)
        except ValueError as error:
            what = f"the server sent something that is not JSON: {shorten(text[:80].decode(errors='replace'))!r}"
            hint = "check that the engine's url is that of an Ollama server"
            raise ServerAnswerError(what, where=self.url, hint=hint) from error

    def _describe_failure(self, path: str, error: Exception) -> ServerUnreachableError:
        late = isinstance(error, TimeoutError)
        reason = "no answer in time" if late else shorten(str(error)) or type(error).__name__
        hint = "start it with `ollama serve`, or correct the engine's url in the cluster file"
        return ServerUnreachableError(f"{path} failed: {reason}", where=self.url, hint=hint)


async def _read_message(response: aiohttp.ClientResponse) -> str:
    start = (await response.content.read(4096)).decode(errors="replace")
    try:
        return as_text(as_object(json.loads(start)).get("error")) or start
    except ValueError:
        return start
