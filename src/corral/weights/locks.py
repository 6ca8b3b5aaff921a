"""One writer per model, between processes too.

`flock` because the kernel drops it when its holder dies, however it dies; a lock file that is merely present means
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from corral.weights.files import disk_errors_are_clear

_LOOK_AGAIN_S = 0.1
"""flock cannot wake an event loop, and a thread blocked in it could not be cancelled."""


@contextlib.asynccontextmanager
async def exclusive(path: Path, *, on_wait: Callable[[], None]) -> AsyncGenerator[None]:
    """Hold the lock at `path`; `on_wait` is called once when another holds it already.

    Raises: DiskFullError, StoreUnwritableError.
    """
    with disk_errors_are_clear(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _try_lock(descriptor):
            on_wait()
            while not _try_lock(descriptor):  # noqa: ASYNC110 - the holder is another process
                await asyncio.sleep(_LOOK_AGAIN_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
