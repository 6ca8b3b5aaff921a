"""The header of a GGUF file: metadata and the list of tensors.

The `gguf` package has a reader, which is not used here: it maps the whole file, keeps an array for every token of the
vocabulary, and bounds nothing, while this module has only the first megabytes, from any source. A test compares the
results of the two. Format: docs/gguf.md in ggml-org/ggml.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from corral.hardware.fit.quantizations import BLOCKS
from corral.weights.headers.errors import HeaderError, MoreBytesNeeded

MAGIC = b"GGUF"
MOST_BYTES = 256 * 2**20
"""No header is this long: the largest vocabularies, of 260,000 tokens with merges, take some 15 MB."""
_VERSIONS = (2, 3)
_MOST_ENTRIES = 100_000
"""Of metadata or of tensors; the largest models have some 2,000 tensors in one file."""
_LONGEST_KEPT = 4096
"""Of an array that is kept: there is one number for each layer. Longer ones (vocabularies) are stepped over."""
_LONGEST_TEXT = 2**20
_LONGEST_NAME = 1024
_MOST_DIMENSIONS = 8
_STRING, _ARRAY = 8, 9
_SCALARS: Mapping[int, str] = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_TYPE_NAMES: Mapping[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip
"""`GGMLQuantizationType` of the `gguf` package, which a test compares it with."""

Scalar = int | float | bool | str
Value = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTensor:
    """One entry of the list of tensors."""

    name: str
    type: str
    dimensions: tuple[int, ...]
    offset: int
    """Bytes from the start of the data to its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """The file's description of itself."""

    metadata: Mapping[str, Value]
    """Without long arrays."""
    lengths: Mapping[str, int]
    """How long each array is, the long ones included."""
    tensors: tuple[GgufTensor, ...]
    size: int
    """Bytes that it takes; the data starts at the next multiple of the alignment."""


def read_gguf(data: bytes, *, where: str) -> GgufHeader:
    """Read a header from the start of a file.

    Raises: MoreBytesNeeded when `data` ends before it does; HeaderError when it is none.
    """
    return _Reader(data, where).read()


class _Reader:
    """Walks over the bytes once; every read is checked against what is there."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._where = where
        self._at = 0
        self._metadata: dict[str, Value] = {}
        self._lengths: dict[str, int] = {}

    def read(self) -> GgufHeader:
        if self._take(4) != MAGIC:
            raise self._make_error("the file does not start with 'GGUF'")
        version = self._read_number("I")
        if version not in _VERSIONS:
            raise self._make_error(f"GGUF version {version}, of which only 2 and 3 are known (little endian)")
        tensors, entries = self._read_count("tensors"), self._read_count("metadata entries")
        for _ in range(entries):
            self._read_entry()
        listed = tuple(self._read_tensor() for _ in range(tensors))
        return GgufHeader(metadata=self._metadata, lengths=self._lengths, tensors=listed, size=self._at)

    def _read_entry(self) -> None:
        key = self._read_text(_LONGEST_NAME)
        kind = self._read_number("I")
        if kind == _ARRAY:
            self._read_array(key)
        elif kind == _STRING:
            self._metadata[key] = self._read_text(_LONGEST_TEXT)
        else:
            self._metadata[key] = self._read_scalar(kind)

    def _read_array(self, key: str) -> None:
        kind, length = self._read_number("I"), self._read_number("Q")
        if kind == _ARRAY:
            raise self._make_error(f"{key!r} is an array of arrays")
        self._lengths[key] = length
        if length > _LONGEST_KEPT:
            self._step_over(kind, length)
        else:
            read: Callable[[], Scalar] = lambda: (  # noqa: E731
                self._read_text(_LONGEST_TEXT) if kind == _STRING else self._read_scalar(kind)
            )
            self._metadata[key] = tuple(read() for _ in range(length))

    def _step_over(self, kind: int, length: int) -> None:
        if kind != _STRING:
            self._take_none(length * struct.calcsize(self._find_code(kind)))
            return
        self._need(8 * length)  # before a loop whose length a file has chosen
        for _ in range(length):
            self._take_none(self._read_number("Q"))

    def _read_tensor(self) -> GgufTensor:
        name = self._read_text(_LONGEST_NAME)
        count = self._read_number("I")
        if count > _MOST_DIMENSIONS:
            raise self._make_error(f"tensor {name!r} has {count} dimensions")
        dimensions = tuple(self._read_number("Q") for _ in range(count))
        kind = self._read_number("I")
        offset = self._read_number("Q")
        known = _TYPE_NAMES.get(kind)
        if known is None or known not in BLOCKS:
            raise self._make_error(f"tensor {name!r} has the type {kind}, which is not known")
        return GgufTensor(name=name, type=known, dimensions=dimensions, offset=offset)

    def _read_count(self, what: str) -> int:
        count = self._read_number("Q")
        if count > _MOST_ENTRIES:
            raise self._make_error(f"{count} {what}, more than {_MOST_ENTRIES}")
        return count

    def _read_scalar(self, kind: int) -> Scalar:
        return self._unpack(self._find_code(kind))

    def _find_code(self, kind: int) -> str:
        code = _SCALARS.get(kind)
        if code is None:
            raise self._make_error(f"a value of the type {kind}, which is not known")
        return code

    def _read_number(self, code: str) -> int:
        return int(self._unpack(code))

    def _unpack(self, code: str) -> int | float | bool:
        value: int | float | bool = struct.unpack("<" + code, self._take(struct.calcsize(code)))[0]
        return value

    def _read_text(self, longest: int) -> str:
        length = self._read_number("Q")
        if length > longest:
            raise self._make_error(f"a text of {length} bytes, more than {longest}")
        return self._take(length).decode(errors="replace")

    def _take(self, length: int) -> bytes:
        start = self._at
        self._take_none(length)
        return self._data[start : self._at]

    def _take_none(self, length: int) -> None:
        self._need(length)
        self._at += length

    def _need(self, length: int) -> None:
        end = self._at + length
        if end > MOST_BYTES:
            raise self._make_error(f"the header is longer than {MOST_BYTES} bytes")
        if end > len(self._data):
            raise MoreBytesNeeded(end)

    def _make_error(self, fact: str) -> HeaderError:
        return HeaderError(f"not a readable GGUF header: {fact}", where=f"{self._where}, byte {self._at}")
