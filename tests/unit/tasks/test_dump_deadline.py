"""A program that dumps a database and waits for ever is ended after a time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from corral.tasks.backup.dumps import DumpError, dump_database


async def test_a_database_that_never_answers_ends_the_dump_with_a_clear_error(tmp_path: Path) -> None:
    left = asyncio.Event()

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the program is gone
        left.set()
        writer.close()

    async with await asyncio.start_server(stay_silent, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://corral@127.0.0.1:{port}/corral?sslmode=disable&gssencmode=disable"

        with pytest.raises(DumpError, match=r"pg_dump did not end within 2 s") as failure:
            await dump_database(url, tmp_path / "dump", deadline_s=2)
        async with asyncio.timeout(10):
            await left.wait()

    assert failure.value.hint
