"""Folders for data directories: short enough for a socket's path, and open to the user who runs root's PostgreSQL."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


def make_short_folder(name: str) -> Path:
    """Make a folder whose name begins with `name`; whoever asks removes it."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))
    folder.chmod(0o711)
    return folder


@contextmanager
def lend_short_folder(name: str = "corral") -> Generator[Path]:
    """Give a folder, which is removed with all that is in it at the end."""
    folder = make_short_folder(name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
