"""The server that a command starts for itself: found, refused with its own words, not waited for in vain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corral.cli import launching
from corral.cli.launching import ServerStartError, find_running, read_last_lines, start
from corral.client.connection import NoServerError, find_local_server, locate

DEAD = 2**22 + 1
"""No process has this number: Linux gives numbers below 2**22."""


async def test_a_server_that_cannot_start_is_reported_with_what_it_said_last(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("apiVersion: corral/v0\n")

    with pytest.raises(ServerStartError) as caught:
        await start(tmp_path / "data", tmp_path / "cluster.yaml")

    assert "ended with exit code 2" in caught.value.what
    assert "apiVersion 'corral/v0' is unknown" in caught.value.what
    assert caught.value.where == str(tmp_path / "data" / "server.log")


async def test_a_file_that_a_killed_server_left_is_not_a_server(tmp_path: Path) -> None:
    record = {"pid": DEAD, "url": "http://127.0.0.1:9", "token": "t", "started_at": "2026-01-01T00:00:00Z"}
    (tmp_path / "server.json").write_text(json.dumps(record))
    (tmp_path / "server.lock").touch()

    assert find_local_server(tmp_path) is None
    assert await find_running(tmp_path) is None


def test_no_server_is_an_error_that_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NoServerError) as caught:
        locate(None, tmp_path)

    assert caught.value.where == str(tmp_path)
    assert "corral up" in (caught.value.hint or "")


def test_a_server_named_by_url_needs_no_data_directory(tmp_path: Path) -> None:
    assert locate("http://gpu-box:7433", tmp_path).url == "http://gpu-box:7433"


def test_the_end_of_a_log_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"{n}\n" for n in range(1000)))

    assert read_last_lines(tmp_path / "log")[-1] == "999"
    assert len(read_last_lines(tmp_path / "log")) == launching.LAST_LINES
    assert read_last_lines(tmp_path / "none") == []
