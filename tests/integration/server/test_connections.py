"""Clients that send half a request, too much, or too many at once hold nothing for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from corral.client.api import IDLE_S
from corral.server.connections import (
    DESCRIPTORS_EACH,
    RESERVED_DESCRIPTORS,
    ConnectionLimits,
    count_connections,
    make_server_config,
)
from corral.server.services import Services
from corral.tasks.store.tokens import create_token
from doubles.serving import Serving, serving

TASKS = "/corral/v1/tasks"
IMPATIENT = ConnectionLimits(connections=5, head_s=0.2, body_s=0.2)


@pytest.fixture
async def impatient(services: Services) -> AsyncIterator[Serving]:
    """The API behind limits that a test can wait for."""
    async with serving(services, limits=IMPATIENT) as api:
        yield api


async def _open(api: Serving) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))


async def _send(api: Serving, content: bytes) -> bytes:
    """Send this and nothing more, and return what comes until the server closes."""
    reader, writer = await _open(api)
    writer.write(content)
    try:
        return await reader.read()
    finally:
        writer.close()


def _head(path: str, size: int, token: str = "corral_local") -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {size}")
    return "\r\n".join((*lines, f"Authorization: Bearer {token}", "", "")).encode()


@pytest.mark.parametrize("content", [b"", b"\r\n\r\n", b"GET /corral/v1/ta", b"GET / HTTP/1.1\r\nHost: a\r\n"])
async def test_half_a_head_is_answered_and_closed(impatient: Serving, content: bytes) -> None:
    assert b"HTTP/1.1 408" in await _send(impatient, content)


@pytest.mark.parametrize("path", [TASKS, "/corral/v1/plan", "/corral/v1/uploads?name=a"])
async def test_half_a_body_is_answered_and_closed(impatient: Serving, path: str) -> None:
    assert b"HTTP/1.1 408" in await _send(impatient, _head(path, 1000) + b'{"engine":')


async def test_blank_lines_after_an_answer_do_not_hold_the_connection(impatient: Serving) -> None:
    reader, writer = await _open(impatient)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\r\n")
    assert b"HTTP/1.1 408" in await reader.read()
    writer.close()


@pytest.mark.parametrize("path", [TASKS, "/corral/v1/batches", "/corral/v1/plan"])
async def test_the_body_of_an_unknown_caller_is_not_read(api: Serving, path: str) -> None:
    """The answer comes although the body has not been sent."""
    reader, writer = await _open(api)
    writer.write(_head(path, 32 * 1024 * 1024, token="corral_wrong"))
    assert (await reader.readline()).startswith(b"HTTP/1.1 401")
    writer.close()


async def test_a_body_that_would_fill_the_memory_is_refused(api: Serving) -> None:
    answer = await api.call(
        "POST", TASKS, data=b"[" + b"[]," * 10_000_000 + b"0]", headers={"Content-Type": "application/json"}
    )
    assert (answer.status, answer.json["error"]["code"]) == (413, "request.too_many_values")


async def test_connections_over_the_limit_are_refused_and_those_before_are_served(services: Services) -> None:
    async with serving(services, limits=ConnectionLimits(connections=5)) as api:
        before = [await _open(api) for _ in range(5)]
        assert b"HTTP/1.1 503" in await _send(api, b"")
        reader, writer = before[0]
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        for _, writer in before:
            writer.close()


async def test_one_owner_has_a_part_of_the_connections_and_others_the_rest(services: Services) -> None:
    _, ada = await create_token(services.pool, name="ada", role="viewer")
    limits = ConnectionLimits(connections=40)
    async with serving(services, limits=limits) as api:
        ask = b"GET /corral/v1/queues HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n"
        kept = [await _open(api) for _ in range(limits.of_one_owner + 1)]
        for _, writer in kept:
            writer.write(ask % ada.encode())
        lines = [await reader.readline() for reader, _ in kept]
        local = [await api.get("/corral/v1/queues") for _ in range(3)]

        assert sorted(line.split()[1] for line in lines) == [b"200"] * limits.of_one_owner + [b"429"]
        assert [answer.status for answer in local] == [200] * 3

        for _, writer in kept:
            writer.close()
        headers = {"Authorization": f"Bearer {ada}"}
        status = 429
        while status == 429:  # the server notices a closed connection on its own time
            status = (await api.get("/corral/v1/queues", headers=headers)).status
        assert status == 200


def test_descriptors_are_left_for_the_rest_of_the_server() -> None:
    for descriptors in (64, 1024, 65_536):
        taken = count_connections(descriptors) * DESCRIPTORS_EACH
        assert taken <= max(DESCRIPTORS_EACH, descriptors - RESERVED_DESCRIPTORS)


def test_the_client_gives_up_an_idle_connection_before_the_server_does() -> None:
    config = make_server_config(None, IMPATIENT)
    assert config.timeout_keep_alive > IDLE_S
