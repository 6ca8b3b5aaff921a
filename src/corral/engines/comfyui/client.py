"""HTTP and WebSocket towards one instance: every wait has a deadline, every answer a bound, every failure a meaning.

An instance refuses requests whose Origin is not its own Host, so no Origin is ever sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from pydantic_core import from_json

from corral.engines.comfyui.errors import (
    AdapterClosedError,
    InstanceAnswerError,
    InstanceLacksError,
    InstanceUnreachableError,
    OutputMissingError,
    RequestRefusedError,
    shorten,
)
from corral.engines.credentials import Credentials
from corral.engines.narrowing import strip_credentials
from corral.engines.reaching import PASSED_ON_HEADERS, make_endpoint
from corral.engines.unreachable import describe_failure
from corral.errors import Problem
from corral.narrowing import as_number, as_object, as_text
from corral.units import format_bytes
from corral.work import Dialect, Endpoint, EngineError, Json

MIB = 2**20
LARGEST_ANSWER = 64 * MIB
"""Of JSON. `/queue` repeats every queued workflow, and a history entry holds all outputs of its nodes."""
LARGEST_FRAME = 64 * MIB
"""Of the WebSocket: previews are small, but an error can carry the tensors' description."""
LARGEST_OUTPUT = 16 * 1024 * MIB
"""Of one downloaded file; a video of minutes fits, a runaway stream does not fill the disk."""

_FORM_BYTES = 1024
"""Of an upload, in addition to its file: the form's parts, with some room."""
_PERMANENT = frozenset({400, 414, 415, 422, 431})
"""Refusals of what a request carries: the same request is refused again. Others are about the client or the moment."""

SessionFactory = Callable[[], aiohttp.ClientSession]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How long this adapter waits for an instance, in seconds; one place, so that tests can make every wait short."""

    check_s: float = 5.0
    """One look at whether the instance answers."""
    request_s: float = 30.0
    """Any short request; an instance that loads a model holds its interpreter lock and answers late."""
    submit_s: float = 60.0
    """Submitting: the instance validates the whole workflow before it answers."""
    transfer_idle_s: float = 60.0
    """Silence that ends an upload or a download; the transfer as a whole is bounded by the attempt."""
    reconnect_s: float = 90.0
    """How long an instance can be away while it owes us a prompt; a restart with many custom nodes takes a minute."""
    settle_s: float = 2.0
    """How long a prompt whose submission broke off can still turn up in the queue of a living instance."""
    poll_s: float = 2.0
    """Between two looks at a prompt while the WebSocket is quiet."""
    cancel_s: float = 20.0
    """Until a cancelled prompt must be gone; a sampler notices an interrupt between two steps."""
    release_s: float = 20.0
    """Until the memory must have fallen after models were asked to unload."""
    retry_s: float = 0.25
    """First pause before something that failed is tried again; doubled each time up to `poll_s`."""


def open_session() -> aiohttp.ClientSession:
    """Open a session without a deadline of its own; each request brings one."""
    redirects = aiohttp.TraceConfig()
    redirects.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), trace_configs=[redirects])


async def _refuse_redirect(_: aiohttp.ClientSession, __: object, ___: object) -> None:
    """Keep an instance from choosing where else requests go, and the secrets in their headers; sockets follow too."""
    raise aiohttp.ClientError("it sends requests on to another address")


class ComfyClient:
    """One instance by URL; opens its session on the first request, inside the running loop."""

    def __init__(
        self,
        url: str,
        *,
        timings: Timings,
        headers: Mapping[str, str] | None = None,
        credentials: Credentials = Credentials(),  # noqa: B008 (a frozen value)
        session: SessionFactory = open_session,
    ) -> None:
        self._base = url.rstrip("/")
        self.url = strip_credentials(self._base)
        """Where the instance is, for messages."""
        self._timings = timings
        self._credentials = credentials
        self._own_headers = {name: value for name, value in (headers or {}).items() if name.lower() != "origin"}
        self._open = session
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def _make_headers(self) -> dict[str, str]:
        return {**self._own_headers, **self._credentials.make_headers(), **PASSED_ON_HEADERS}

    def make_endpoint(self) -> Endpoint:
        """Return where others ask the instance. Raises: SecretMissingError."""
        return make_endpoint(self._base, self._make_headers(), Dialect.COMFYUI)

    async def get(self, path: str, *, params: Mapping[str, str] | None = None, within_s: float | None = None) -> Json:
        """Get JSON. Raises: InstanceUnreachableError, InstanceAnswerError."""
        async with self._request("GET", path, within_s=within_s, params=dict(params or {})) as response:
            return await self._read_json(response)

    async def post(self, path: str, body: Json, *, within_s: float | None = None) -> Json:
        """Post JSON; the answer can be empty. Raises: InstanceUnreachableError, InstanceAnswerError."""
        async with self._request("POST", path, within_s=within_s, json=body) as response:
            return await self._read_json(response)

    async def submit(self, body: Json) -> tuple[int, Json]:
        """Post a prompt and return status and body, for 200 and 400 alike.

        Raises: RequestRefusedError; InstanceUnreachableError, whose `received` is true when the prompt might have been
        queued all the same.
        """
        async with self._request(
            "POST", "/prompt", within_s=self._timings.submit_s, also=frozenset({400}), own=True, json=body
        ) as response:
            return response.status, await self._read_json(response)

    async def upload(self, path: Path, name: str) -> str:
        """Upload an input file; return the name that the instance gave it, as a node's input takes it.

        Raises: InstanceLacksError when it is larger than the instance takes; InstanceUnreachableError.
        """
        await self._check_size(path, name)
        with path.open("rb") as content:  # read in pieces by aiohttp, in threads
            form = aiohttp.FormData()
            form.add_field("image", content, filename=name, content_type="application/octet-stream")
            form.add_field("type", "input")
            async with self._request("POST", "/upload/image", transfer=True, own=True, data=form) as response:
                answer = as_object(await self._read_json(response))
        given, folder = as_text(answer.get("name")), as_text(answer.get("subfolder"))
        if not given:
            raise InstanceAnswerError("the instance did not name the uploaded file", where=self.url, status=200)
        return f"{folder}/{given}" if folder else given

    async def _check_size(self, path: Path, name: str) -> None:
        """Refuse a file over the instance's limit before it is sent: its refusal can get lost while it is."""
        try:
            features = as_object(await self.get("/features"))
        except InstanceAnswerError:  # a version before 0.3.44
            return
        limit, size = as_number(features.get("max_upload_size")), path.stat().st_size + _FORM_BYTES
        if limit is not None and size > limit:
            raise _report_too_large(
                f"the file {name!r} has {format_bytes(size)}, and the instance takes {format_bytes(int(limit))}",
                self.url,
            )

    async def download(self, params: Mapping[str, str], target: Path) -> str:
        """Stream an output into `target`; return its media type.

        Raises: OutputMissingError if there is none; RequestRefusedError; InstanceUnreachableError.
        """
        name = params["filename"]
        missing = OutputMissingError(f"the instance no longer has its output {name!r}", where=self.url)
        if ".." in name:
            raise RequestRefusedError(
                f"ComfyUI gives out no file with two dots in its name: {name!r}",
                where=self.url,
                hint="change the filename_prefix of the node that saves it",
            )
        async with self._request(
            "GET", "/view", transfer=True, also=frozenset({404}), own=True, params=dict(params)
        ) as response:
            if response.status == 404:
                raise missing
            await self._save(response, target)
            return response.content_type

    @asynccontextmanager
    async def open_socket(self, client_id: str) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
        """Open the WebSocket of one client id, or give up soon: no outcome depends on it.

        Raises: InstanceUnreachableError.
        """
        session = self._get_session()
        try:
            async with asyncio.timeout(self._timings.check_s):
                socket = await session.ws_connect(
                    f"{self._base}/ws",
                    params={"clientId": client_id},
                    headers=self._make_headers(),
                    heartbeat=self._timings.request_s,
                    max_msg_size=LARGEST_FRAME,
                )
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise self._describe_failure("/ws", error) from error
        try:
            yield socket
        finally:
            await socket.close()

    async def close(self) -> None:
        """Close every connection for good."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        within_s: float | None = None,
        transfer: bool = False,
        also: frozenset[int] = frozenset(),
        own: bool = False,
        **options: Json,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send one request; with `own` it carries what the task asks, and a refusal can be the task's fault."""
        idle = self._timings.transfer_idle_s
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timings.request_s, sock_read=idle)
        deadline = None if transfer else within_s or self._timings.request_s
        try:
            async with (
                asyncio.timeout(deadline),
                self._get_session().request(
                    method,
                    f"{self._base}{path}",
                    headers=self._make_headers(),
                    timeout=timeout,
                    allow_redirects=False,  # an instance does not choose where else Corral sends requests
                    **options,
                ) as response,
            ):
                if response.status >= 300 and response.status not in also:
                    raise await self._describe_bad_status(response, path, own=own)
                yield response
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise self._describe_failure(path, error) from error

    def _get_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise AdapterClosedError("the engine was closed", where=self.url)
        if self._session is None:
            self._session = self._open()
        return self._session

    async def _read_json(self, response: aiohttp.ClientResponse) -> Json:
        body = await self._read_body(response)
        if not body.strip():
            return None
        try:
            # A large answer takes long to read: not on the loop that every slot shares.
            return from_json(body) if len(body) < MIB else await asyncio.to_thread(from_json, body)
        except ValueError as error:
            what = f"{response.url.path} answered {response.status} with something that is not JSON"
            hint = "check that the engine's url is that of a ComfyUI instance"
            raise InstanceAnswerError(what, where=self.url, status=response.status, hint=hint) from error

    async def _read_body(self, response: aiohttp.ClientResponse) -> bytes:
        pieces = bytearray()
        async for piece in response.content.iter_chunked(MIB):
            pieces += piece
            if len(pieces) > LARGEST_ANSWER:
                what = f"{response.url.path} answered with more than {LARGEST_ANSWER // MIB} MiB"
                raise InstanceAnswerError(what, where=self.url, status=response.status)
        return bytes(pieces)

    async def _save(self, response: aiohttp.ClientResponse, target: Path) -> None:
        size = 0
        with await asyncio.to_thread(target.open, "wb") as file:
            async for piece in response.content.iter_chunked(MIB):
                size += len(piece)
                if size > LARGEST_OUTPUT:
                    raise OutputMissingError(f"the output is larger than {LARGEST_OUTPUT} bytes", where=self.url)
                await asyncio.to_thread(file.write, piece)

    async def _describe_bad_status(self, response: aiohttp.ClientResponse, path: str, *, own: bool) -> EngineError:
        start = await response.content.read(4096)
        what = f"{path} answered {response.status}: {shorten(start.decode(errors='replace')) or 'no text'}"
        if own and response.status == 413:
            return _report_too_large(what, self.url)
        if own and response.status in _PERMANENT:
            return RequestRefusedError(what, where=self.url, hint="look at the log of the ComfyUI instance")
        return InstanceAnswerError(what, where=self.url, status=response.status)

    def _describe_failure(self, path: str, error: Exception) -> InstanceUnreachableError:
        # A refused connection carried nothing; anything later might have carried the whole request.
        never_sent = isinstance(error, aiohttp.ClientConnectorError)
        return InstanceUnreachableError(
            f"{path} failed: {shorten(describe_failure(error))}", where=self.url, received=not never_sent
        )


def _report_too_large(what: str, where: str) -> InstanceLacksError:
    hint = "start that ComfyUI with a larger --max-upload-size (in MB), or use a smaller file"
    return InstanceLacksError([Problem(code="comfyui.too_large", what=what, where=where, hint=hint)])
