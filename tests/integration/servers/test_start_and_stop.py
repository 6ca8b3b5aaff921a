"""A server that cannot say that it is ready stops; a server that was killed is not found while its successor starts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from corral.data_dir import LOCK_FILE, Presence, find_server
from corral.server import presence
from corral.server.runtime import serve
from corral.server.settings import ServerSettings
from integration.server.test_tls_and_proxies import make_certificate


async def test_server_whose_starter_is_gone_stops_instead_of_hanging(database_url: str, tmp_path: Path) -> None:
    def gone(_: str, _make_link: object) -> None:
        raise BrokenPipeError

    settings = ServerSettings(data_dir=tmp_path / "data", port=0, database_url=database_url)
    serving = asyncio.create_task(serve(settings, ready=gone))
    ended, _ = await asyncio.wait({serving}, timeout=20)
    serving.cancel()
    assert ended
    with pytest.raises(BrokenPipeError):
        await serving


async def test_url_that_is_printed_is_the_encrypted_one_and_commands_here_find_the_plain_one(
    database_url: str, tmp_path: Path
) -> None:
    data_dir, urls = tmp_path / "data", list[str]()

    def note(url: str, _make_link: object) -> None:
        server = find_server(data_dir)
        assert server is not None
        urls.extend((url, server.url))
        raise BrokenPipeError

    tls = make_certificate(tmp_path, "main")
    settings = ServerSettings(data_dir=data_dir, port=0, database_url=database_url, tls=tls)
    with pytest.raises(BrokenPipeError):
        await asyncio.wait_for(serve(settings, ready=note), 20)

    printed, stored = urls
    assert printed.startswith("https://127.0.0.1:")
    assert stored.startswith("http://127.0.0.1:")
    assert printed.rpartition(":")[2] != stored.rpartition(":")[2]


def test_server_that_was_killed_is_not_found_while_its_successor_starts(tmp_path: Path) -> None:
    killed = Presence(pid=1, url="http://127.0.0.1:1", token="secret", started_at="")
    (tmp_path / LOCK_FILE).touch()
    presence.announce(tmp_path, killed)
    with presence.hold_data_dir(tmp_path):
        assert find_server(tmp_path) is None
