"""Reads a multipart form as it arrives: a file goes on to where it is kept, nothing of it stays in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import ClassVar

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from corral.errors import CorralError, Kind

MOST_PARTS = 64
"""Of one form; all of its fields together have `corral.gateway.asgi.LARGEST_BODY` bytes at most."""
LARGEST_FIELD = 2**20
"""Bytes of one part that is not a file."""


class FormError(CorralError):
    """A body is not the multipart form that the request says."""

    code: ClassVar[str] = "request.form"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(slots=True)
class Part:
    """One part of a form; its content is read before the next part is asked for."""

    name: str
    filename: str | None
    """None for a part that is not a file."""
    content: AsyncIterator[bytes]

    async def read_text(self) -> str:
        """Return the content of a part that is not a file. Raises: FormError."""
        pieces = bytearray()
        async for piece in self.content:
            pieces += piece
            if len(pieces) > LARGEST_FIELD:
                raise FormError(f"the form's field {self.name!r} has more than {LARGEST_FIELD} bytes")
        if b"\x00" in pieces:
            raise FormError(f"the form's field {self.name[:80]!r} has a NUL character", where=self.name[:80])
        return pieces.decode(errors="replace")


@dataclass(slots=True)
class _Head:
    headers: dict[str, bytes] = field(default_factory=dict[str, bytes])
    name: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)


_Seen = _Head | bytes | None
"""The head of a part, a piece of its content, or its end."""


async def read_parts(content_type: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[Part]:
    """Yield the parts of a form. Raises: FormError, when it is not one or is cut off."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise FormError(f"the body is {content_type[:80]!r}, not multipart/form-data with a boundary")
    seen: deque[_Seen] = deque()
    head = _Head()

    def end_header() -> None:
        head.headers[head.name.decode("latin-1").lower()] = bytes(head.value)
        head.name, head.value = bytearray(), bytearray()

    def end_head() -> None:
        nonlocal head
        seen.append(head)
        head = _Head()

    def add_name(data: bytes, start: int, end: int) -> None:
        head.name.extend(data[start:end])

    def add_value(data: bytes, start: int, end: int) -> None:
        head.value.extend(data[start:end])

    def add_content(data: bytes, start: int, end: int) -> None:
        seen.append(bytes(data[start:end]))

    callbacks: dict[str, Callable[..., object]] = {
        "on_header_field": add_name,
        "on_header_value": add_value,
        "on_header_end": end_header,
        "on_headers_finished": end_head,
        "on_part_data": add_content,
        "on_part_end": lambda: seen.append(None),
    }
    try:
        parser = MultipartParser(boundary, callbacks)  # pyright: ignore[reportArgumentType]  its TypedDict of names
    except FormParserError as error:
        raise FormError(f"the form cannot be read: {error}") from error

    async def read_next() -> _Seen:
        while not seen:
            chunk = await anext(chunks, None)
            if chunk is None:
                raise EOFError
            try:
                parser.write(chunk)
            except FormParserError as error:
                raise FormError(f"the form cannot be read: {error}") from error
        return seen.popleft()

    async def read_content() -> AsyncIterator[bytes]:
        try:
            while isinstance(piece := await read_next(), bytes):
                yield piece
        except EOFError:
            raise FormError("the form ends in the middle of a part") from None

    parts = 0
    while True:
        try:
            item = await read_next()
        except EOFError:
            return
        if isinstance(item, _Head):
            parts += 1
            if parts > MOST_PARTS:
                raise FormError(f"the form has more than {MOST_PARTS} parts", hint="send fewer")
            _, given = parse_options_header(item.headers.get("content-disposition", b""))
            name, filename = given.get(b"name", b"").decode(errors="replace"), given.get(b"filename")
            content = read_content()
            yield Part(name, None if filename is None else filename.decode(errors="replace"), content)
            async for _ in content:  # what its reader left
                pass
