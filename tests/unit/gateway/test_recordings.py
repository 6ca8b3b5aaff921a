"""A recording goes to the disk once it is known who may have it heard, and no further than its bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corral.errors import CorralError
from corral.gateway.asgi import BodyTooLargeError, Exchange
from corral.gateway.forms import LARGEST_FIELD, FormError
from corral.gateway.speech.recordings import LARGEST_RECORDING, LOOK_EVERY, Fields, read_form, write_form
from corral.work import Json

MODEL = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'


def make_file(size: int) -> bytes:
    head = b'--b\r\ncontent-disposition: form-data; name="file"; filename="../a.mp3"\r\n\r\n'
    return head + b"s" * size + b"\r\n"


class Request:
    """A request of these parts, whose body can be asked for once."""

    def __init__(self, *parts: bytes, length: int | None = None, content_type: str = "") -> None:
        self._messages = [{"type": "http.request", "body": b"".join(parts) + b"--b--\r\n"}]
        headers = [(b"content-type", (content_type or "multipart/form-data; boundary=b").encode())]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        self.exchange = Exchange({"headers": headers}, self._receive, None)

    @property
    def is_read(self) -> bool:
        return not self._messages

    async def _receive(self) -> Any:
        return self._messages.pop()


async def read(
    request: Request, folder: Path, *, largest: int = 1000, refuse: CorralError | None = None
) -> tuple[Fields, Path]:
    async def admit(fields: Fields) -> int:
        if refuse is not None:
            raise refuse
        return largest

    return await read_form(request.exchange, folder, admit, lambda _: None)


def count_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


async def test_a_recording_of_its_bound_is_kept_below_a_name_of_our_own(tmp_path: Path) -> None:
    fields, audio = await read(Request(MODEL, make_file(1000)), tmp_path)
    assert (audio, audio.stat().st_size) == (tmp_path / "audio.mp3", 1000)
    assert fields["model"] == "whisper-1"


async def test_a_recording_above_its_bound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BodyTooLargeError, match="more than 1000 bytes"):
        await read(Request(MODEL, make_file(1001)), tmp_path)
    assert count_bytes(tmp_path) <= 1000


async def test_what_is_refused_is_not_stored(tmp_path: Path) -> None:
    refuse = FormError("this key is not for the model")
    with pytest.raises(FormError, match="not for the model"):
        await read(Request(MODEL, make_file(1000)), tmp_path, refuse=refuse)
    assert count_bytes(tmp_path) == 0


async def test_the_fields_before_the_file_are_known_when_it_is_admitted(tmp_path: Path) -> None:
    seen: list[Fields] = []

    async def admit(fields: Fields) -> int:
        seen.append(dict(fields))
        return 1000

    for parts in ((MODEL, make_file(1)), (make_file(1), MODEL)):
        fields, _ = await read_form(Request(*parts).exchange, tmp_path, admit, lambda _: None)
        assert fields["model"] == "whisper-1"
    assert ["model" in fields for fields in seen] == [True, False]


async def test_a_request_that_says_it_is_too_large_is_refused_before_its_body_is_read(tmp_path: Path) -> None:
    huge = Request(MODEL, make_file(1), length=LARGEST_RECORDING + LARGEST_FIELD + 1)
    with pytest.raises(BodyTooLargeError, match="audio can have 2147483648 here"):
        await read(huge, tmp_path)
    assert not huge.is_read

    with pytest.raises(BodyTooLargeError, match="audio can have 1000 here"):
        await read(Request(MODEL, make_file(1), length=1001 + LARGEST_FIELD), tmp_path)
    assert count_bytes(tmp_path) == 0


async def test_the_room_on_the_disk_is_looked_at_before_and_while_a_recording_comes(tmp_path: Path) -> None:
    asked: list[int] = []

    async def admit(_: Fields) -> int:
        return LOOK_EVERY

    await read_form(Request(MODEL, make_file(LOOK_EVERY), length=7).exchange, tmp_path, admit, asked.append)
    assert asked == [7, 0]


@pytest.mark.parametrize(
    "parts", [(MODEL, make_file(1), make_file(1)), (MODEL, MODEL.replace(b"whisper-1", b"other"), make_file(1))]
)
async def test_two_files_or_models_are_refused(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    with pytest.raises(FormError, match="two"):
        await read(Request(*parts), tmp_path)


async def test_a_form_that_is_passed_on_has_the_same_fields_and_no_name_ends_its_header(tmp_path: Path) -> None:
    given: dict[str, Json] = {
        "model": "m",
        "granularities": ["word", "segment"],
        "include[]": ["logprobs"],
        'x"\r\ncontent-type: text/html\r\n\r\n<b>': "1",
    }
    content_type, body = write_form(given, "audio.mp3", b"sound")

    request = Request(content_type=content_type)
    request._messages = [{"type": "http.request", "body": body}]
    fields, audio = await read(request, tmp_path)

    odd = fields.pop("x%22%0D%0Acontent-type: text/html%0D%0A%0D%0A<b>")
    assert (odd, audio.read_bytes()) == ("1", b"sound")
    assert fields == {"model": "m", "granularities": ["word", "segment"], "include[]": ["logprobs"]}
