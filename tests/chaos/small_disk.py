"""A small disk for the data directory, which can be filled to the last byte: a tmpfs, which only root can mount."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZE_MIB = 1280
"""Room for the bytes that Corral keeps free, PostgreSQL's log, and the outputs of a storm."""
_FILLER = "filler"


class SmallDisk:
    """A mounted disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fill(self, seconds: float) -> bool:
        """Take all that is free, and give it back so much later; False while it is full already."""
        filler = self._folder / _FILLER
        if filler.exists():
            return False
        with filler.open("wb") as file:
            step = 64 * 1024 * 1024
            while step >= os.statvfs(self._folder).f_frsize:  # others write meanwhile: less and less fits
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), step)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2
        asyncio.get_running_loop().call_later(seconds, self.empty)
        return True

    def empty(self) -> None:
        """Give the room back."""
        (self._folder / _FILLER).unlink(missing_ok=True)


@contextmanager
def mount_small_disk(folder: Path) -> Generator[SmallDisk | None]:
    """Mount a small disk on a folder, which is made; give None where this user cannot mount."""
    folder.mkdir(mode=0o711)
    options = f"size={SIZE_MIB}m,mode=0711"
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield SmallDisk(folder)
    finally:
        with suppress(subprocess.CalledProcessError):  # a process that outlived the storm is in it: said by the verdict
            subprocess.run(["umount", folder], check=True, capture_output=True)
