"""HTTP towards one server of an engine: JSON or a form in; JSON, a stream of JSON or a file out; translated failures.

A server is silent while it loads a model or reads a prompt, for as long as that takes: headers come with the first
piece of the answer. So silence is not a failure. A server that is silent is asked for something small now and then
(Ollama for its version), and is lost when it does not answer that either (`_prove_alive`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import aiohttp

from corral.engines.http.errors import (
    AdapterClosedError,
    GenerationFailedError,
    Refusal,
    ServerAnswerError,
    ServerBusyError,
    ServerUnreachableError,
    shorten,
)
from corral.engines.http.reading import (
    LARGEST_ANSWER,
    LONGEST_REFUSAL,
    Fail,
    read_events,
    read_json,
    read_lines,
    read_message,
)
from corral.engines.narrowing import strip_credentials
from corral.engines.reaching import PASSED_ON_HEADERS, make_endpoint
from corral.engines.unreachable import describe_failure
from corral.narrowing import as_object, as_text
from corral.work import Dialect, Endpoint, EngineError, Json

KEEPALIVE_S = 15
"""Seconds without a packet until TCP asks the other side: a host that restarted without a word refuses the answer."""

SessionFactory = Callable[[], aiohttp.ClientSession]
MakeForm = Callable[[ExitStack], aiohttp.FormData]
"""Makes a form anew for each time that it is sent; the stack closes its files once the answer is read."""
Body = dict[str, Json] | MakeForm | None
_Sent = dict[str, Json] | Callable[[], aiohttp.FormData] | None
Answer = TypeVar("Answer")
_OK = frozenset({200, 201, 204})


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """The facts that the client needs of an engine's servers."""

    alive: str
    """A path that a server answers at once, whatever it computes."""
    start_hint: str
    """What to do where nothing answers."""
    other_hint: str
    """What to do where something else answers."""
    translate: Callable[[Refusal], EngineError]
    """Translates an answer that is not the one that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Deadlines and intervals, all in seconds."""

    check_s: float = 5.0
    """Any look at the server that computes nothing."""
    probe_s: float = 15.0
    """Silence after which the server is asked whether it is alive, again and again."""
    probes: int = 3
    """How many such questions must go unanswered, one after the other, until the server is lost."""
    stall_s: float = 600.0
    """Silence in the midst of a stream after which it is given up although the server is alive: a call of a tool is
    written without a word, but not for longer."""
    busy_s: float = 60.0
    """How long a full queue is waited for; after that another server can have the task."""
    release_s: float = 30.0
    """Until unloaded models must be gone."""
    retry_s: float = 0.25
    """Between two looks at whether they are; the first wait for a full queue or between unanswered questions."""


def open_session() -> aiohttp.ClientSession:
    """Open a session without a deadline of its own, whose connections notice a host that is gone.

    Each request has a connection of its own: servers close kept ones at times of their own (llama-server now and then
    right after an answer), maybe just as the next request leaves, and one that changes something is not sent again.
    """
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None),
        connector=aiohttp.TCPConnector(socket_factory=_make_socket, force_close=True),
    )


def _make_socket(address: aiohttp.AddrInfoType) -> socket.socket:  # pyright: ignore[reportUnknownParameterType]: aiohttp's
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):  # Linux's words; elsewhere the system's own pace stays
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), KEEPALIVE_S)
    return made


class ServerClient:
    """One server by URL; opens its session on the first request, inside the running loop."""

    def __init__(
        self,
        url: str,
        manners: Manners,
        *,
        timings: Timings,
        headers: Callable[[], Mapping[str, str]] = dict,
        session: SessionFactory = open_session,
    ) -> None:
        """`headers` makes those that go with every request; they are never shown, and never follow a redirect."""
        self._base = url.rstrip("/")
        self.url = strip_credentials(self._base)
        """Where the server is, for messages."""
        self._manners = manners
        self._timings = timings
        self._headers = headers
        self._open = session
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def make_endpoint(self, *dialects: Dialect, model: str | None) -> Endpoint:
        """Return where others ask the server. Raises: EngineUnavailableError when a secret is missing."""
        return make_endpoint(self._base, self._headers(), *dialects, model=model)

    async def look(self, path: str, body: dict[str, Json] | None = None) -> dict[str, Json]:
        """Get a description of the server or of one of its models, within `check_s`. Raises: EngineError."""
        try:
            async with asyncio.timeout(self._timings.check_s):
                return await self._look(path, body)
        except TimeoutError as error:
            raise self._describe_failure(path, error) from error

    async def ask(
        self, path: str, body: Body, *, note: Callable[[str], None], bound: int = LARGEST_ANSWER
    ) -> dict[str, Json]:
        """Post and get one whole answer of at most `bound` bytes; `note` gets a few words for what is waited for.

        Raises: EngineError.
        """
        async with self._open_pieces(path, body, note, self._timings.stall_s) as (_, pieces):
            return as_object(await read_json(pieces, self.make_answer_error, bound=bound))

    @asynccontextmanager
    async def stream(
        self, path: str, body: dict[str, Json], *, note: Callable[[str], None], stall_s: float | None
    ) -> AsyncGenerator[AsyncIterator[dict[str, Json]]]:
        """Post and get an answer line by line; leaving the block closes the connection.

        `stall_s` bounds the silence between two pieces in seconds; None waits for as long as the server is alive.
        Raises: EngineError.
        """
        async with self._open_stream(read_lines, path, body, note, stall_s) as lines:
            yield lines

    @asynccontextmanager
    async def stream_events(
        self, path: str, body: dict[str, Json], *, note: Callable[[str], None]
    ) -> AsyncGenerator[AsyncIterator[dict[str, Json]]]:
        """Post and get an answer event by event; leaving the block closes the connection. Raises: EngineError."""
        async with self._open_stream(read_events, path, body, note, self._timings.stall_s) as events:
            yield events

    @asynccontextmanager
    async def download(
        self, path: str, body: dict[str, Json], *, note: Callable[[str], None]
    ) -> AsyncGenerator[tuple[str, AsyncIterator[bytes]]]:
        """Post and get the media type of a file, and the file piece by piece. Raises: EngineError."""
        async with self._open_pieces(path, body, note, self._timings.stall_s) as (response, pieces):
            yield response.content_type, pieces

    async def delete(self, path: str, body: dict[str, Json] | None = None) -> None:
        """Delete what the path, or the body, names. Raises: EngineError."""
        async with self._translate(path):
            (await self._wait(self._send("DELETE", path, body))).close()

    def make_answer_error(self, what: str) -> EngineError:
        """Make the error of an answer that cannot be used."""
        return ServerAnswerError(what, where=self.url, hint=self._manners.other_hint)

    async def close(self) -> None:
        """Drop every connection for good."""
        self._closed = True
        await self.drop()

    async def drop(self) -> None:
        """Drop every connection; the next request opens anew."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _look(self, path: str, body: dict[str, Json] | None) -> dict[str, Json]:
        async with self._translate(path):
            response = await self._send("GET" if body is None else "POST", path, body)
            try:
                return as_object(await read_json(response.content.iter_any(), self.make_answer_error))
            finally:
                response.close()

    @asynccontextmanager
    async def _open_stream(
        self,
        read: Callable[[AsyncIterator[bytes], Fail], AsyncIterator[dict[str, Json]]],
        path: str,
        body: Body,
        note: Callable[[str], None],
        stall_s: float | None,
    ) -> AsyncGenerator[AsyncIterator[dict[str, Json]]]:
        async with self._open_pieces(path, body, note, stall_s) as (_, pieces):
            yield read(pieces, self.make_answer_error)

    @asynccontextmanager
    async def _open_pieces(
        self, path: str, body: Body, note: Callable[[str], None], stall_s: float | None
    ) -> AsyncGenerator[tuple[aiohttp.ClientResponse, AsyncIterator[bytes]]]:
        with ExitStack() as opened:
            async with self._translate(path):
                response = await self._send_when_free(path, (lambda: body(opened)) if callable(body) else body, note)
                opened.callback(response.close)
                async with aclosing(self._read_pieces(response, stall_s)) as pieces:
                    yield response, pieces

    async def _send_when_free(self, path: str, body: _Sent, note: Callable[[str], None]) -> aiohttp.ClientResponse:
        """Send a request, and send it again while the server's queue is full, for `busy_s`."""
        now = asyncio.get_running_loop().time
        deadline, wait_s = now() + self._timings.busy_s, self._timings.retry_s
        while True:
            try:
                return await self._wait(self._send("POST", path, body))
            except ServerBusyError:
                if now() >= deadline:
                    raise
            note("the server's queue is full")
            await asyncio.sleep(min(wait_s, max(deadline - now(), 0)))
            wait_s = min(2 * wait_s, 10)

    async def _send(self, method: str, path: str, body: _Sent) -> aiohttp.ClientResponse:
        if self._closed:
            raise AdapterClosedError("the engine was closed", where=self.url)
        if self._session is None:
            self._session = self._open()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timings.check_s)
        response = await self._session.request(
            method,
            f"{self._base}{path}",
            json=None if callable(body) else body,
            data=body() if callable(body) else None,
            headers={**self._headers(), **PASSED_ON_HEADERS},
            timeout=timeout,
            allow_redirects=False,  # a server does not choose where else Corral sends requests
        )
        if response.status in _OK:
            return response
        try:
            message = read_message(await response.content.read(LONGEST_REFUSAL))
        finally:
            response.close()
        model = as_text(as_object(body).get("model"))
        raise self._manners.translate(
            Refusal(status=response.status, message=message, path=path, model=model, where=self.url)
        )

    async def _wait(self, answer: Awaitable[Answer], *, is_broken: Callable[[], bool] = lambda: False) -> Answer:
        """Wait for an answer for as long as the server is alive. Raises: ServerUnreachableError."""
        waiting = asyncio.ensure_future(answer)
        try:
            while not (await asyncio.wait({waiting}, timeout=self._timings.probe_s))[0]:
                if is_broken():
                    raise ServerUnreachableError("the answer arrives in broken pieces", where=self.url)
                await self._prove_alive(waiting)
            return waiting.result()
        except BaseException:
            await _abandon(waiting)
            raise

    async def _prove_alive(self, waiting: asyncio.Future[Answer]) -> None:
        """Return once the server has answered something. Raises: ServerUnreachableError."""
        for left in reversed(range(self._timings.probes)):
            try:
                await self.look(self._manners.alive)
            except ServerUnreachableError as error:
                if not left and not waiting.done():
                    what = f"the server fell silent, and does not answer {self._manners.alive} either ({error.what})"
                    raise ServerUnreachableError(what, where=self.url, hint=error.hint) from error
            except EngineError:
                return  # a refusal is an answer
            else:
                return
            if (await asyncio.wait({waiting}, timeout=self._timings.retry_s))[0]:
                return

    async def _read_pieces(self, response: aiohttp.ClientResponse, stall_s: float | None) -> AsyncGenerator[bytes]:
        """Read what arrives; aiohttp ends no read of a stream whose chunks are malformed, it only closes."""

        def is_broken() -> bool:
            connection = response.connection
            return connection is None or connection.transport is None or connection.transport.is_closing()

        while True:
            try:
                async with asyncio.timeout(stall_s):
                    piece = await self._wait(response.content.readany(), is_broken=is_broken)
            except TimeoutError as error:
                what = f"the answer stopped in its midst for {stall_s:g}s"
                raise GenerationFailedError(what, where=self.url, hint="look at the server's log") from error
            if not piece:
                return
            yield piece

    @asynccontextmanager
    async def _translate(self, path: str) -> AsyncGenerator[None]:
        try:
            yield
        except (aiohttp.ClientError, ConnectionError) as error:
            raise self._describe_failure(path, error) from error

    def _describe_failure(self, path: str, error: Exception) -> ServerUnreachableError:
        what = f"{path} failed: {shorten(describe_failure(error))}"
        return ServerUnreachableError(what, where=self.url, hint=self._manners.start_hint)


async def _abandon(waiting: asyncio.Future[Answer]) -> None:
    """End what nothing waits for any more.

    An answer that came in the very moment of a cancel belongs to nothing: it is closed here, else the server goes on.
    """
    waiting.cancel()
    await asyncio.wait({waiting})
    answer = None if waiting.cancelled() or waiting.exception() is not None else waiting.result()
    if isinstance(answer, aiohttp.ClientResponse):
        answer.close()
