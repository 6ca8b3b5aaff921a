"""A recording goes to the disk while it arrives, and no further than its bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corral.gateway.asgi import Exchange
from corral.gateway.forms import FormError
from corral.gateway.speech.hearing import read_form


def make_exchange(*sizes: int) -> Exchange:
    """Return a request with files of these sizes."""
    head = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.%d"\r\n\r\n'
    body = b"".join(head % size + b"s" * size + b"\r\n" for size in sizes) + b"--b--\r\n"
    messages = [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        return messages.pop()

    return Exchange({"headers": [(b"content-type", b"multipart/form-data; boundary=b")]}, receive, None)


async def test_a_recording_of_its_bound_is_kept(tmp_path: Path) -> None:
    _, audio = await read_form(make_exchange(1000), tmp_path, largest=1000)
    assert audio.stat().st_size == 1000


@pytest.mark.parametrize("sizes", [(1001,), (600, 601)])
async def test_a_recording_above_its_bound_is_refused(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    with pytest.raises(FormError, match="more than 1000 bytes"):
        await read_form(make_exchange(*sizes), tmp_path, largest=1000)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1000
