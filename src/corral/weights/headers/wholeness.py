"""Whether a file that is named as a GGUF file is a whole one, by its own header.

For files whose checksum is not promised: a page that reports an error, or a download that was cut short, is found when
it comes, and not when a night's first task loads it.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

from corral.hardware.fit.quantizations import count_bytes
from corral.weights.headers.errors import HeaderError, MoreBytesNeeded
from corral.weights.headers.gguf import MAGIC, GgufHeader, read_gguf

_FIRST = 2**20
"""Bytes; most headers are smaller, those with a large vocabulary take a few of them."""
_ALIGNMENT = 32
"""Of the data, where the file names none (the GGUF specification)."""


def find_gguf_damage(path: Path) -> str | None:
    """Return why the file is not a whole GGUF file; None when it is, by its header. Blocks.

    A header that is not understood is let pass: llama.cpp can be newer than this reader.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
    if start != MAGIC:
        return f"{path.name} is not a GGUF file: it starts with {start!r}"
    try:
        header = read_header(path)
    except HeaderError:
        return None
    if header is None:
        return f"{path.name} is cut short: its {size} bytes end inside its header"
    needed = _find_end(header)
    return f"{path.name} is cut short: it has {size} of {needed} bytes" if needed > size else None


def _find_end(header: GgufHeader) -> int:
    """Return where the last tensor ends, in bytes from the start of the file."""
    wanted = header.metadata.get("general.alignment")
    alignment = wanted if isinstance(wanted, int) and wanted > 0 else _ALIGNMENT
    data = -(-header.size // alignment) * alignment
    ends = (tensor.offset + count_bytes(tensor.type, prod(tensor.dimensions)) for tensor in header.tensors)
    return data + max(ends, default=0)


def read_header(path: Path) -> GgufHeader | None:
    """Read the header of a file; None when the file ends before it does. Blocks. Raises: HeaderError, OSError."""
    length = _FIRST
    while True:
        with path.open("rb") as file:
            data = file.read(length)
        try:
            return read_gguf(data, where=path.name)
        except MoreBytesNeeded as error:
            if len(data) < length:
                return None
            length = max(error.at_least, 2 * length)
