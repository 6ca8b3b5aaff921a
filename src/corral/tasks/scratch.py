"""Folders in which attempts work: one attempt at a time has one, and finds it empty.

A folder that is empty after its engine returned is used again. Removing one writes to the file system's journal, which
waits while the database's commits are on their way to the same disk: 3 ms were measured, in the loop that hands out
slots. Whatever an attempt leaves, or can still write because it was stopped, goes with its folder.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from uuid import uuid4


class ScratchFolders:
    """Hands out the folders under `root`; used by one event loop."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._empty: list[Path] = []

    def take(self) -> Path:
        """Return the path of a folder for one attempt; `prepare` makes it."""
        return self._empty.pop() if self._empty else self._root / uuid4().hex

    async def give_back(self, folder: Path, *, returned: bool) -> None:
        """Take a folder back; `returned` is whether the engine returned by itself and so writes no more."""
        if returned and _is_empty(folder):
            self._empty.append(folder)
        else:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def prepare(folder: Path) -> None:
    """Make a folder that was taken, unless it is there from before. Raises: OSError."""
    if not folder.is_dir():
        folder.mkdir(parents=True)


def _is_empty(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:
        return False
