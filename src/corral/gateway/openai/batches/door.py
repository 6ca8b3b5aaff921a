"""The routes of OpenAI's files and batches, as bare ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

import structlog

from corral.errors import CorralError, Kind
from corral.gateway.answering import answer_exchange
from corral.gateway.asgi import Exchange, Scope
from corral.gateway.doors import Doorman, Visitor, require_submitter
from corral.gateway.forms import read_parts
from corral.gateway.openai.batches.book import BatchAsked, BatchView, Book, FileView
from corral.gateway.openai.batches.inputs import ENDPOINTS
from corral.gateway.openai.shape import OpenAiShape
from corral.gateway.parsing import parse_kept
from corral.gateway.routes import Routes
from corral.narrowing import as_object
from corral.units import UnitError, parse_duration
from corral.work import Json

_log = structlog.get_logger()

MAX_METADATA = 16
"""Entries of a batch's metadata, as OpenAI has it."""
MOST_LISTED = 100
MOST_FILES_LISTED = 10_000
_LARGEST_BODY = 2**20
_PIECE = 256 * 1024
_PURPOSE = "batch"


class BatchBodyError(CorralError):
    """A request for a file or a batch cannot be used."""

    code: ClassVar[str] = "batch.request"
    kind: ClassVar[Kind] = Kind.INVALID


Serve = Callable[[Exchange, Visitor, str], Awaitable[None]]


class BatchDoor:
    """OpenAI's files and batches."""

    paths = ("/v1/files", "/v1/files/", "/v1/batches", "/v1/batches/")

    def __init__(self, book: Book, doorman: Doorman, work: Callable[[], Awaitable[None]]) -> None:
        """`work` brings batches forward until it is cancelled."""
        self._book = book
        self._doorman = doorman
        self._work = work
        routes: Mapping[tuple[str, str], Serve] = {
            ("POST", "/v1/files"): self._receive_file,
            ("GET", "/v1/files"): self._list_files,
            ("GET", "/v1/files/{id}"): self._show_file,
            ("DELETE", "/v1/files/{id}"): self._delete_file,
            ("GET", "/v1/files/{id}/content"): self._send_content,
            ("POST", "/v1/batches"): self._create_batch,
            ("GET", "/v1/batches"): self._list_batches,
            ("GET", "/v1/batches/{id}"): self._show_batch,
            ("POST", "/v1/batches/{id}/cancel"): self._cancel_batch,
        }
        self._routes = Routes(routes, docs="docs/doors/batches.md")

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one request."""
        await answer_exchange(self._serve, OpenAiShape(), scope, receive, send)

    async def run(self) -> None:
        """Bring batches forward until cancelled."""
        await self._work()

    async def close(self) -> None:
        """Nothing is open between requests."""

    async def _serve(self, exchange: Exchange) -> None:
        route = self._routes.find(exchange)
        await route.serve(exchange, await self._doorman.admit(exchange.scope), route.part)

    # --- files

    async def _receive_file(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        require_submitter(visitor)
        purpose, file = "", None
        chunks = exchange.read_chunks()
        async for part in read_parts(exchange.headers.get("content-type", ""), chunks):
            if part.filename is None:
                text = await part.read_text()
                purpose = text if part.name == "purpose" else purpose
            elif part.name == "file":
                # Clients send `purpose` before the file or after it; one that is wrong is refused in the end.
                file = await self._book.receive_file(
                    visitor, name=part.filename, purpose=_PURPOSE, content=part.content
                )
        if file is None:
            raise BatchBodyError("the form has no `file`", where="file", hint="send a JSONL file of requests")
        if purpose != _PURPOSE:
            await self._book.delete_file(visitor, file.id)
            raise BatchBodyError(
                f"`purpose` is {purpose!r}, not 'batch'", where="purpose", hint="files are for batches"
            )
        await exchange.answer_json(200, describe_file(file))

    async def _list_files(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        query = exchange.query
        limit = _read_limit(query, MOST_FILES_LISTED, MOST_FILES_LISTED)
        files = await self._book.list_files(
            visitor,
            purpose=query.get("purpose"),
            after=query.get("after"),
            limit=limit + 1,
            newest_first=query.get("order", "desc") != "asc",
        )
        await exchange.answer_json(200, _make_page([describe_file(file) for file in files[:limit]], len(files) > limit))

    async def _show_file(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        await exchange.answer_json(200, describe_file(await self._book.find_file(visitor, id)))

    async def _delete_file(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        require_submitter(visitor)
        await self._book.delete_file(visitor, id)
        await exchange.answer_json(200, {"id": id, "object": "file", "deleted": True})

    async def _send_content(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        path = await self._book.locate_content(visitor, id)
        with path.open("rb") as file:
            size = path.stat().st_size
            headers = [(b"content-type", b"application/jsonl"), (b"content-length", str(size).encode())]
            await exchange.start(200, [*headers, (b"content-disposition", b"attachment")])
            if exchange.method != "HEAD":
                while piece := await asyncio.to_thread(file.read, _PIECE):
                    await exchange.write(piece)
            await exchange.end()

    # --- batches

    async def _create_batch(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        require_submitter(visitor)
        asked = read_batch(await exchange.read_body(_LARGEST_BODY))
        await exchange.answer_json(200, describe_batch(await self._book.create_batch(visitor, asked)))

    async def _list_batches(self, exchange: Exchange, visitor: Visitor, _: str) -> None:
        limit = _read_limit(exchange.query, 20, MOST_LISTED)
        batches = await self._book.list_batches(visitor, after=exchange.query.get("after"), limit=limit + 1)
        listed = [describe_batch(batch) for batch in batches[:limit]]
        await exchange.answer_json(200, _make_page(listed, len(batches) > limit))

    async def _show_batch(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        await exchange.answer_json(200, describe_batch(await self._book.find_batch(visitor, id)))

    async def _cancel_batch(self, exchange: Exchange, visitor: Visitor, id: str) -> None:
        require_submitter(visitor)
        await exchange.answer_json(200, describe_batch(await self._book.cancel_batch(visitor, id)))


def read_batch(body: bytes) -> BatchAsked:
    """Read a request for a batch. Raises: BatchBodyError."""
    try:
        fields = as_object(parse_kept(body))
    except ValueError as error:
        raise BatchBodyError(f"the body is not JSON: {error}", hint="send an object in JSON") from error
    endpoint, input_file, window = (fields.get(name) for name in ("endpoint", "input_file_id", "completion_window"))
    if endpoint not in ENDPOINTS:
        raise BatchBodyError(f"`endpoint` is {endpoint!r}", where="endpoint", hint=f"use one of {', '.join(ENDPOINTS)}")
    if not isinstance(input_file, str):
        raise BatchBodyError("`input_file_id` is missing", where="input_file_id", hint="upload a file first")
    window = "24h" if window is None else window
    try:
        seconds = parse_duration(window).total_seconds() if isinstance(window, str) else 0
    except UnitError:
        seconds = 0
    if not isinstance(window, str) or not seconds:
        raise BatchBodyError("`completion_window` is not a time such as 24h", where="completion_window", hint="use 24h")
    return BatchAsked(
        endpoint=str(endpoint),
        input_file=input_file,
        completion_window=window,
        window_s=seconds,
        metadata=_read_metadata(fields.get("metadata")),
    )


def _read_metadata(given: Json) -> Mapping[str, Json] | None:
    if given is None:
        return None
    entries = as_object(given)
    fits = all(isinstance(value, str) and len(key) <= 64 and len(value) <= 512 for key, value in entries.items())
    if not isinstance(given, dict) or len(entries) > MAX_METADATA or not fits:
        hint = f"use at most {MAX_METADATA} texts, of 64 characters by name and 512 by value"
        raise BatchBodyError("`metadata` is not a small map of texts", where="metadata", hint=hint)
    return entries


def _read_limit(query: Mapping[str, str], usual: int, most: int) -> int:
    given = query.get("limit", str(usual))
    if not given.isdecimal() or len(given) > 9 or not 1 <= int(given) <= most:
        raise BatchBodyError(f"`limit` is {given[:20]!r}", where="limit", hint=f"use a number from 1 to {most}")
    return int(given)


def _make_page(data: list[dict[str, Json]], has_more: bool) -> Json:
    ids = [entry["id"] for entry in data]
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}


def describe_file(file: FileView) -> dict[str, Json]:
    """Describe a file as OpenAI does; it does not expire."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": None,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def describe_batch(batch: BatchView) -> dict[str, Json]:
    """Describe a batch as OpenAI does; `expires_at` is when it should be done, and it goes on after that."""
    problems = [dict(problem) for problem in batch.problems]
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": problems} if problems else None,
        "input_file_id": batch.input_file,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file,
        "error_file_id": batch.error_file,
        "created_at": _to_seconds(batch.created_at),
        "in_progress_at": _to_seconds(batch.in_progress_at),
        "expires_at": _to_seconds(batch.by),
        "finalizing_at": _to_seconds(batch.finalizing_at),
        "completed_at": _to_seconds(batch.completed_at),
        "failed_at": _to_seconds(batch.failed_at),
        "expired_at": None,
        "cancelling_at": _to_seconds(batch.cancelling_at),
        "cancelled_at": _to_seconds(batch.cancelled_at),
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": None if batch.metadata is None else dict(batch.metadata),
    }


def _to_seconds(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp())
