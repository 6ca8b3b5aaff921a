"""SPDY/3.1 as far as port forwarding needs it: `kubectl port-forward` sends it inside a WebSocket.

Many streams over one connection. A frame is control (SYN_STREAM opens a stream and has headers) or data. Headers are
compressed by one zlib stream for the whole connection, which begins with a dictionary of the specification. Kubernetes
uses no flow control. https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GO_AWAY = 1, 2, 3, 6, 7
FIN = 1
_WORDS = (
    "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-ranges|age|allow|"
    "authorization|cache-control|connection|content-base|content-encoding|content-language|content-length|"
    "content-location|content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|"
    "if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|"
    "proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|upgrade|"
    "user-agent|vary|via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|"
    "keep-alive|origin"
)
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    "Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec "
    "00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
    "charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in _WORDS.split("|")) + _REST.encode()
"""Its Adler-32 is 0xe3c6a7c2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What arrived: of a stream, or (stream 0) of the connection."""

    stream: int
    headers: Mapping[str, str] | None = None
    """Of a stream that opens."""
    data: bytes = b""
    is_last: bool = False
    """The other side sends nothing more on this stream."""
    is_reset: bool = False
    ping: bytes = b""
    """What to answer as it is."""


class Connection:
    """Reads and writes the frames of a connection."""

    def __init__(self) -> None:
        self._buffer = b""
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def receive(self, data: bytes) -> Iterator[Frame]:
        """Read the frames that are complete with these bytes."""
        self._buffer += data
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            flags, length = second >> 24, second & 0xFFFFFF
            if len(self._buffer) < 8 + length:
                return
            body, self._buffer = self._buffer[8 : 8 + length], self._buffer[8 + length :]
            if first & 0x80000000 == 0:
                yield Frame(stream=first, data=body, is_last=bool(flags & FIN))
                continue
            frame = self._read_control(first & 0xFFFF, flags, body)
            if frame is not None:
                yield frame

    def _read_control(self, kind: int, flags: int, body: bytes) -> Frame | None:
        match kind:
            case 1:  # SYN_STREAM
                stream = struct.unpack_from(">I", body)[0]
                return Frame(stream=stream, headers=self._read_headers(body[10:]), is_last=bool(flags & FIN))
            case 3:  # RST_STREAM
                return Frame(stream=struct.unpack_from(">I", body)[0], is_reset=True)
            case 6:  # PING
                return Frame(stream=0, ping=_write_control(PING, 0, body))
            case _:
                return None

    def _read_headers(self, block: bytes) -> dict[str, str]:
        text = self._inflate.decompress(block)
        count, at = struct.unpack_from(">I", text)[0], 4
        words: list[str] = []
        for _ in range(count * 2):
            length = struct.unpack_from(">I", text, at)[0]
            words.append(text[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return dict(zip(words[::2], words[1::2], strict=True))

    def accept(self, stream: int) -> bytes:
        """Write the answer to a stream that the other side has opened."""
        block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _write_control(SYN_REPLY, 0, struct.pack(">I", stream) + block)


def write_data(stream: int, data: bytes, *, is_last: bool = False) -> bytes:
    """Write bytes of a stream."""
    return struct.pack(">II", stream, (FIN if is_last else 0) << 24 | len(data)) + data


def reset(stream: int) -> bytes:
    """Write that a stream is refused or broken."""
    return _write_control(RST_STREAM, 0, struct.pack(">II", stream, 5))


def _write_control(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">II", 0x80000000 | VERSION << 16 | kind, flags << 24 | len(body)) + body
