"""Sees and changes answers that are passed on, with as little work as can be: most of them are only looked at.

Counts are read from the beginning and the end of an answer, where every server writes them, without parsing the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Protocol

from corral.errors import CorralError, Kind
from corral.gateway.asgi import LARGEST_BODY
from corral.gateway.upstream import UpstreamError
from corral.gateway.usage import Tokens

LARGEST_EVENT = 16 * 2**20
"""Bytes of one event that are waited for; a reply's logprobs, and a picture, are the largest that are known."""
LARGEST_ANSWER = LARGEST_BODY
"""Bytes of an answer that has to be whole to be changed: as many as of a request, which can ask for many vectors."""
_WINDOW = 4096
"""Bytes at the beginning and the end of an answer in which counts are looked for."""
_PROMPT = re.compile(rb'"(?:prompt_tokens|input_tokens|prompt_eval_count)"\s*:\s*(\d{1,12})')
_COMPLETION = re.compile(rb'"(?:completion_tokens|output_tokens|eval_count)"\s*:\s*(\d{1,12})')


class AnswerTooLargeError(CorralError):
    """An answer that has to be whole to be changed has more bytes than are held for it."""

    code: ClassVar[str] = "gateway.answer_too_large"
    kind: ClassVar[Kind] = Kind.INVALID


class PieceEditor(Protocol):
    """Sees an answer that is passed on, and changes what its protocol needs changed."""

    def edit(self, piece: bytes) -> bytes:
        """Take the next piece as it arrived, and return what to send now; it can be nothing."""
        ...

    def finish(self) -> bytes:
        """Return what is left to send after the last piece."""
        ...

    @property
    def tokens(self) -> Tokens:
        """The tokens that the answer counts, once it is whole."""
        ...


class TokenReader:
    """Reads the tokens that an answer counts; quotes inside of texts are escaped, so texts are never counts."""

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""

    def edit(self, piece: bytes) -> bytes:
        """Look at a piece, and return it as it is."""
        if len(self._head) < _WINDOW:
            self._head += piece[: _WINDOW - len(self._head)]
        self._tail = piece[-_WINDOW:] if len(piece) >= _WINDOW else (self._tail + piece)[-_WINDOW:]
        return piece

    def finish(self) -> bytes:
        """Return nothing: every piece was returned."""
        return b""

    @property
    def tokens(self) -> Tokens:
        """The tokens, as far as they were counted by now."""
        windows = (self._tail,) if self._tail.startswith(self._head) else (self._tail, self._head)
        counting = [window for window in windows if b'tokens"' in window or b'eval_count"' in window]
        return Tokens(prompt=_find_count(_PROMPT, counting), completion=_find_count(_COMPLETION, counting))


def _find_count(pattern: re.Pattern[bytes], windows: Iterable[bytes]) -> int | None:
    for window in windows:
        if counts := pattern.findall(window):
            return int(counts[-1])
    return None


class EventEditor:
    """Changes or drops the events of a stream; each arrives whole, with the blank line after it."""

    def __init__(self, change: Callable[[bytes], bytes], *, end: Callable[[], bytes] = bytes) -> None:
        """`change` gets one event and returns what to send in its place; `end` returns what to send at the end."""
        self._change = change
        self._end = end
        self._rest = b""
        self._half = b""
        """The first half of a line's end, whose second half is in the next piece."""
        self._reader = TokenReader()

    def edit(self, piece: bytes) -> bytes:
        """Return the events that are whole by now, changed. Raises: UpstreamError for one of too many bytes."""
        self._reader.edit(piece)
        piece = self._half + piece
        self._half = piece[-1:] if piece.endswith(b"\r") else b""
        text = piece.removesuffix(self._half).replace(b"\r\n", b"\n")
        whole, blank, self._rest = (self._rest + text).rpartition(b"\n\n")
        if len(self._rest) > LARGEST_EVENT:
            raise UpstreamError(f"an event of the server has more than {LARGEST_EVENT} bytes")
        if not blank:
            return b""
        return b"".join(self._change(event + b"\n\n") for event in whole.split(b"\n\n") if event)

    def finish(self) -> bytes:
        """Return the last event, which can be without its blank line."""
        rest, self._rest = self._rest.strip(b"\n"), b""
        return (self._change(rest + b"\n\n") if rest else b"") + self._end()

    @property
    def tokens(self) -> Tokens:
        """The tokens that the stream counts, before it was changed."""
        return self._reader.tokens


class WholeEditor:
    """Changes an answer that has to be whole for that."""

    def __init__(self, change: Callable[[bytes], bytes]) -> None:
        self._change = change
        self._pieces: list[bytes] = []
        self._size = 0
        self._reader = TokenReader()

    def edit(self, piece: bytes) -> bytes:
        """Keep a piece; nothing is sent before the end. Raises: AnswerTooLargeError."""
        self._reader.edit(piece)
        self._size += len(piece)
        if self._size > LARGEST_ANSWER:
            what = f"the server's answer has more than {LARGEST_ANSWER} bytes"
            raise AnswerTooLargeError(what, hint="ask for less at once, or for a stream")
        self._pieces.append(piece)
        return b""

    def finish(self) -> bytes:
        """Return the answer, changed."""
        return self._change(b"".join(self._pieces))

    @property
    def tokens(self) -> Tokens:
        """The tokens that the answer counts, before it was changed."""
        return self._reader.tokens


class Successive:
    """Two editors: the second gets what the first sends."""

    def __init__(self, first: PieceEditor, second: PieceEditor) -> None:
        self._first = first
        self._second = second

    def edit(self, piece: bytes) -> bytes:
        """Return what the second sends now. Raises: what they raise."""
        edited = self._first.edit(piece)
        return self._second.edit(edited) if edited else b""

    def finish(self) -> bytes:
        """Return what both have left."""
        last = self._first.finish()
        return (self._second.edit(last) if last else b"") + self._second.finish()

    @property
    def tokens(self) -> Tokens:
        """The tokens that the answer counts, before it was changed."""
        return self._first.tokens


def chain(changes: Sequence[Callable[[bytes], bytes]]) -> Callable[[bytes], bytes]:
    """Return a change that makes all of these, one after the other."""

    def change(event: bytes) -> bytes:
        for step in changes:
            event = step(event)
        return event

    return change
