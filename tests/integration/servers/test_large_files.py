"""Files are taken as engines leave them, and none holds up the event loop while the disk takes it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from corral.tasks.artifacts import ArtifactStore
from corral.units import Bytes


async def test_upload_is_synced_outside_the_event_loop(tmp_path: Path) -> None:
    threads: list[int] = []
    store = ArtifactStore(tmp_path, fsync=lambda _: threads.append(threading.get_ident()))
    store.prepare()
    await store.receive(_chunks(), limit=Bytes(10))
    assert threads
    assert threading.get_ident() not in threads


async def _chunks() -> AsyncIterator[bytes]:
    yield b"ab"
    await asyncio.sleep(0)
    yield b"c"
