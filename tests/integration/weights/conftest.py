"""The server that models are pulled from."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from doubles.file_server import FileServer, serving
from doubles.small_models import CONTENT


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    """Serve `CONTENT` as /a and as /b while the test runs."""
    async with serving(FileServer(files={"/a": CONTENT, "/b": CONTENT})) as running:
        yield running
