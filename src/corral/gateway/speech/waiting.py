"""Sound that an engine has made and a client has not read yet: bounded in memory, however slowly the client reads."""

from __future__ import annotations

import asyncio
from pathlib import Path

IN_MEMORY = 4 * 2**20
"""Bytes of sound that wait in memory: a minute and a half of 24,000 samples per second."""


class WaitingSound:
    """Pieces of sound in their order; those beyond a bound wait on the disk, so that a slow client holds no slot."""

    def __init__(self, folder: Path, *, most: int = IN_MEMORY) -> None:
        """`folder` is the request's own, and is removed with it."""
        self.queue: asyncio.Queue[bytes | Path] = asyncio.Queue()
        """Where pieces wait; its `task_done` follows each `get`."""
        self._folder = folder
        self._most = most
        self._kept = 0
        self._stored = 0

    def put(self, piece: bytes) -> None:
        """Add a piece. Raises: OSError, where the disk takes no more."""
        if self._kept + len(piece) <= self._most:
            self._kept += len(piece)
            self.queue.put_nowait(piece)
            return
        path = self._folder / f"waiting-{self._stored}"
        self._stored += 1
        path.write_bytes(piece)  # a sentence, into the memory of the system
        self.queue.put_nowait(path)

    async def get(self) -> bytes:
        """Wait for the next piece."""
        piece = await self.queue.get()
        if isinstance(piece, bytes):
            self._kept -= len(piece)
            return piece
        return await asyncio.to_thread(_take, piece)


class NewestText:
    """A text that grows: what is not read yet is replaced by what is longer."""

    def __init__(self) -> None:
        self._text: str | None = None
        self._changed = asyncio.Event()
        self._is_whole = False

    def put(self, text: str) -> None:
        """Replace it."""
        self._text = text
        self._changed.set()

    def end(self) -> None:
        """Say that it grows no more."""
        self._is_whole = True
        self._changed.set()

    async def get(self) -> str | None:
        """Wait for a text that was not read yet; None once it grows no more."""
        while self._text is None and not self._is_whole:
            self._changed.clear()
            await self._changed.wait()
        text, self._text = self._text, None
        return text


def _take(path: Path) -> bytes:
    content = path.read_bytes()
    path.unlink()
    return content
