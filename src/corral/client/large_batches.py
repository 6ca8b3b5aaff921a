"""Batches that are too large for one request: their tasks are uploaded in parts, and the batch names the parts.

A part is named by its content. So one that has arrived is not sent again, whether the connection broke off, the server
was started anew, or the command is run again with the same key.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import TypeVar

from corral.client.remote_errors import RemoteError, RemoteMissingError, RemoteUnavailableError
from corral.client.requests import ServerApi
from corral.work import Json

LARGEST_BODY = 31 * 2**20
"""Bytes of a batch's request; the server takes 32 MiB, and parts of it can be written longer on the way."""
LARGEST_INPUTS = 127 * 2**20
"""Bytes of all tasks' inputs with the defaults in each; the server takes 128 MiB of a batch in one request."""
PART_BYTES = 8 * 2**20
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Before a request is tried again that met no server; one that is started anew is back within these 30 s."""
_STORING_S = 3600.0
"""Bound on storing a batch: 2 GiB of inputs take some minutes."""
_NO_UPLOAD = "upload.missing"
AnswerT = TypeVar("AnswerT")


def is_large(request: Mapping[str, Json]) -> bool:
    """Whether a batch is too large for one request."""
    tasks: list[Json] = request["tasks"]
    common: Json = request.get("defaults", {})
    own = sum(map(_measure, tasks))
    return own + _measure(common) > LARGEST_BODY or own + len(tasks) * _measure(common) > LARGEST_INPUTS


async def submit_large(api: ServerApi, request: Mapping[str, Json], *, key: str) -> Json:
    """Upload the tasks of a batch and submit it; the answer is that of the HTTP API. Raises: RemoteError."""
    digests = [_name(part) for part in _split(request["tasks"])]
    body = {**{name: value for name, value in request.items() if name != "tasks"}, "tasks_in": digests}

    async def submit() -> Json:
        path = "/corral/v1/batches/uploaded"
        return await _try_again(lambda: api.post(path, body, idempotency_key=key, within_s=_STORING_S))

    try:
        answer = await submit()  # a key that the server knows needs no upload
    except RemoteMissingError as error:
        if error.problems[0].code != _NO_UPLOAD:
            raise
        for number, part in enumerate(_split(request["tasks"]), 1):
            await _upload(api, part, f"{request['name']}-{number}.jsonl")
        answer = await submit()
    for digest in () if answer["replayed"] else digests:
        with suppress(RemoteError):  # they count for the owner's quota, and are collected in time
            await api.delete(f"/corral/v1/uploads/{digest}")
    return answer


def _name(part: bytes) -> str:
    return hashlib.sha256(part).hexdigest()


async def _upload(api: ServerApi, part: bytes, name: str) -> None:
    digest = _name(part)

    async def send() -> None:
        if not await _is_there(api, digest):
            await api.upload_content(part, name)

    await _try_again(send)


async def _try_again(send: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
    """Send something that can be sent twice, and again while no server answers."""
    for pause_s in _PAUSES_S:
        try:
            return await send()
        except RemoteUnavailableError:
            await asyncio.sleep(pause_s)
    return await send()


async def _is_there(api: ServerApi, digest: str) -> bool:
    try:
        await api.get(f"/corral/v1/uploads/{digest}")
    except RemoteMissingError:
        return False
    return True


def _split(tasks: list[Json]) -> Iterator[bytes]:
    """Write tasks as JSON, one on each line, in parts."""
    part = bytearray()
    for task in tasks:
        part += json.dumps(task, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"
        if len(part) >= PART_BYTES:
            yield bytes(part)
            part.clear()
    if part:
        yield bytes(part)


def _measure(value: Json) -> int:
    return len(json.dumps(value))
