"""An instance that cannot be reached is reported with the address once, and the reason in words."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from corral.engines.unreachable import describe_failure


@pytest.fixture
def closed_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_refused_connection_names_the_address_once_and_the_reason(closed_port: int) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError) as refused:
            await session.get(f"http://127.0.0.1:{closed_port}/system_stats")

    assert describe_failure(refused.value) == f"cannot connect to 127.0.0.1:{closed_port}: Connection refused"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "no answer in time"),
        (aiohttp.ServerDisconnectedError(), "Server disconnected"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_other_failures_keep_their_words(error: Exception, words: str) -> None:
    assert describe_failure(error) == words
