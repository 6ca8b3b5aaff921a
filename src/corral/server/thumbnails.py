"""Small pictures of large ones: each made once, in a thread, and kept in a folder next to the artifacts.

A thumbnail of a 1024-pixel PNG takes 25 ms of one core and 10 to 25 KB (2 shared x86 cores, PyAV 18.1), so two threads
make a screen of 50 in under a second; decoding lets go of Python's lock.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from corral.engines.pictures import PictureError, decode_picture
from corral.errors import CorralError, Kind
from corral.server.services import Services
from corral.tasks.values import Sha256

_FOLDER = "thumbnails"
SIDE_PX = 256
"""The longer side."""
MOST_KEPT = 50_000
"""Thumbnails in the folder: about a gigabyte. The oldest tenth goes when there are more."""
MOST_REFUSED = 10_000
"""Files without a thumbnail that are remembered, of the latest."""
_AT_ONCE = 2
_LOOK_EVERY = 500
"""Thumbnails made between two looks at how many there are."""


class ThumbnailError(CorralError):
    """A file is not a picture that can be made small."""

    code: ClassVar[str] = "thumbnail.impossible"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(slots=True)
class Thumbnails:
    """The thumbnails of a server."""

    services: Services
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    _made: int = 0
    _refused: dict[Sha256, str] = field(default_factory=dict[Sha256, str])
    """Why files have no thumbnail: a gallery asks for them again and again."""

    @property
    def folder(self) -> Path:
        """Where they are kept."""
        return self.services.data_dir / _FOLDER

    async def get(self, sha256: Sha256) -> Path:
        """Return the JPEG of a picture, made now if need be. Raises: ThumbnailError, ArtifactMissingError."""
        path = self.folder / sha256[:2] / f"{sha256}.jpg"
        if path.exists():
            return path
        async with self._turns:
            if sha256 in self._refused:
                raise ThumbnailError(self._refused[sha256])
            if not path.exists():
                try:
                    await asyncio.to_thread(self._make, self.services.artifacts.locate(sha256), path)
                except ThumbnailError as error:
                    self._refuse(sha256, error.what)
                    raise
                self._made += 1
                if self._made % _LOOK_EVERY == 1:
                    await asyncio.to_thread(self._drop_oldest)
        return path

    def _make(self, source: Path, path: Path) -> None:
        small = shrink(source)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{uuid4().hex}.part")
        part.write_bytes(small)
        part.replace(path)

    def _refuse(self, sha256: Sha256, reason: str) -> None:
        if len(self._refused) >= MOST_REFUSED:
            self._refused.pop(next(iter(self._refused)))
        self._refused[sha256] = reason

    def _drop_oldest(self) -> None:
        kept = [
            (entry.stat().st_mtime, entry.path) for folder in os.scandir(self.folder) for entry in os.scandir(folder)
        ]
        if len(kept) > MOST_KEPT:
            for _, path in sorted(kept)[: len(kept) - MOST_KEPT * 9 // 10]:
                Path(path).unlink(missing_ok=True)


def shrink(source: Path) -> bytes:
    """Return a picture as a small JPEG; blocks. Raises: ThumbnailError."""
    import av  # 40 MB of memory, for the first gallery that is opened
    from av.error import FFmpegError

    try:
        frame = decode_picture(source)
        scale = min(1.0, SIDE_PX / max(frame.width, frame.height))
        sides = [max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height)]
        small = frame.reformat(*sides, format="yuvj420p")
        small.pts = None
        encoder = av.CodecContext.create("mjpeg", "w")
        encoder.width, encoder.height = sides
        encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
        packets: list[Any] = [*encoder.encode(small), *encoder.encode(None)]  # their type is open in PyAV's stubs
        return b"".join(bytes(packet) for packet in packets)
    except PictureError as error:
        raise ThumbnailError(error.what) from error
    except FFmpegError as error:
        raise ThumbnailError(f"the picture cannot be made small: {type(error).__name__}") from error
