"""Pictures as arrays of numbers: decoded within a bound, resized, and written as PNG row by row.

FFmpeg decodes them, through PyAV; transparency and the orientation that a camera notes are left out. PNG is written
here, from rows, so that an enlarged picture is never in memory as a whole, and the same rows are the same bytes.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from corral.engines.pictures import PictureError, decode_picture
from corral.work import TaskInvalidError

Pixels = npt.NDArray[np.uint8]
"""A picture: `(height, width, 3)`, red, green and blue."""
Numbers = npt.NDArray[np.float32]

_MARGIN = 1_000_000
"""Pixels of the padding of rows, which FFmpeg counts, too."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COMPRESSION = 6
_DIFFERENCES = 2
"""PNG's filter `Up`."""


def read_picture(path: Path, name: str, most_pixels: int) -> Pixels:
    """Decode a picture (the first, of several) that is named `name` for people. Blocks. Raises: TaskInvalidError."""
    try:
        frame = decode_picture(path, most_pixels=2 * most_pixels + _MARGIN, is_whole=True)
    except PictureError as error:
        raise TaskInvalidError(
            f"{name!r} is not a picture that can be read: {error.what}",
            hint="hand over a whole PNG, JPEG, WebP, GIF, BMP or TIFF, or set `mostPixels` of the engine higher",
        ) from error
    if frame.width * frame.height > most_pixels:
        raise TaskInvalidError(
            f"{name!r} has more than {most_pixels:,} pixels",
            hint="hand over a smaller picture, or set `mostPixels` of the engine higher",
        )
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def resize(planes: Numbers, height: int, width: int) -> Numbers:
    """Return `(h, w)` or `(h, w, channels)` in another size, each pixel a mean of those around it (triangle filter)."""
    rows, columns = _weigh(planes.shape[0], height), _weigh(planes.shape[1], width)
    return np.moveaxis(np.tensordot(columns, np.tensordot(rows, planes, (1, 0)), (1, 1)), 0, 1)


def _weigh(before: int, after: int) -> Numbers:
    """Return what each of the pixels before weighs in each of those after: `(after, before)`; rows have the sum 1."""
    step = before / after
    reach = max(step, 1.0)
    centres = (np.arange(after, dtype=np.float32) + 0.5) * step
    distances = np.abs(np.arange(before, dtype=np.float32)[None, :] + 0.5 - centres[:, None])
    weights = np.maximum(0.0, 1.0 - distances / reach)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


class PngWriter:
    """Writes a picture from its top to its bottom."""

    def __init__(self, target: IO[bytes], width: int, height: int) -> None:
        """Write the head; sizes are in pixels."""
        self._target = target
        self._packer = zlib.compressobj(_COMPRESSION)
        self._above = np.zeros(width * 3, np.uint8)
        target.write(_SIGNATURE)
        self._write_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))

    def write(self, rows: Pixels) -> None:
        """Write the next rows, `(rows, width, 3)`; each is stored as its difference to the row above it."""
        flat = rows.reshape(len(rows), -1)
        lines = np.full((len(rows), 1 + flat.shape[1]), _DIFFERENCES, np.uint8)
        lines[:, 1:] = flat - np.vstack((self._above, flat[:-1]))
        self._above = flat[-1]
        self._write_chunk(b"IDAT", self._packer.compress(lines.tobytes()))

    def close(self) -> None:
        """Write the end."""
        self._write_chunk(b"IDAT", self._packer.flush())
        self._write_chunk(b"IEND", b"")

    def _write_chunk(self, kind: bytes, content: bytes) -> None:
        if content or kind != b"IDAT":
            body = kind + content
            self._target.write(struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body)))


def write_png(path: Path, pixels: Pixels) -> None:
    """Write a whole picture."""
    with path.open("wb") as target:
        writer = PngWriter(target, pixels.shape[1], pixels.shape[0])
        writer.write(pixels)
        writer.close()
