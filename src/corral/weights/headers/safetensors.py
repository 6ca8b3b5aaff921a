"""The header of a safetensors file: eight bytes of length, then JSON with type, shape and place of every tensor.

Format: README.md of huggingface/safetensors, which bounds the JSON at 100 MB, as is done here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from corral.weights.headers.errors import HeaderError, MoreBytesNeeded

MOST_BYTES = 100_000_000
_LENGTH = 8
_MOST_DIMENSIONS = 8
_BYTES: Mapping[str, float] = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "F8_E4M3": 1,
    "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1, "F4": 0.5,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsTensor:
    """One tensor; `dimensions` in the file's order, in which rows come first."""

    name: str
    type: str
    dimensions: tuple[int, ...]
    size: int
    """In bytes."""


def is_safetensors(data: bytes) -> bool:
    """Whether the first bytes of a file can be a length and the start of JSON."""
    return len(data) > _LENGTH and data[_LENGTH : _LENGTH + 1] == b"{"


def read_safetensors(data: bytes, *, where: str) -> tuple[SafetensorsTensor, ...]:
    """Read the list of tensors from the start of a file.

    Raises: MoreBytesNeeded when `data` ends before the header does; HeaderError when it is none.
    """
    if len(data) < _LENGTH:
        raise MoreBytesNeeded(_LENGTH)
    (length,) = struct.unpack("<Q", data[:_LENGTH])
    if length > MOST_BYTES:
        raise _make_error(f"it claims {length} bytes, more than {MOST_BYTES}", where)
    if len(data) < _LENGTH + length:
        raise MoreBytesNeeded(_LENGTH + length)
    header = parse_mapping(data[_LENGTH : _LENGTH + length], where=where)
    tensors = tuple(_read_tensor(name, entry, where) for name, entry in header.items() if name != "__metadata__")
    if not tensors:
        raise _make_error("it lists no tensor", where)
    return tensors


def parse_mapping(data: bytes, *, where: str) -> dict[str, Any]:  # Any: JSON, checked by the caller
    """Read JSON that must be an object. Raises: HeaderError."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _make_error(f"not JSON: {error}", where) from error
    if not isinstance(value, dict):
        raise _make_error("its JSON is not an object", where)
    return cast("dict[str, Any]", value)


def _read_tensor(name: str, entry: Any, where: str) -> SafetensorsTensor:  # Any: JSON
    try:
        kind, shape = str(entry["dtype"]), entry["shape"]
        start, end = (_read_whole(offset) for offset in entry["data_offsets"])
        dimensions = tuple(_read_whole(dimension) for dimension in shape)
    except (KeyError, TypeError, ValueError) as error:
        raise _make_error(f"tensor {name[:100]!r} has no type, shape and offsets", where) from error
    size = end - start
    if kind in _BYTES and len(dimensions) <= _MOST_DIMENSIONS:
        expected = _BYTES[kind] * _compute_product(dimensions)
        if size != expected:
            raise _make_error(f"tensor {name[:100]!r} has {size} bytes where its shape needs {expected:g}", where)
    if size < 0 or len(dimensions) > _MOST_DIMENSIONS:
        raise _make_error(f"tensor {name[:100]!r} has an impossible size or shape", where)
    return SafetensorsTensor(name=name, type=kind, dimensions=dimensions, size=size)


def _compute_product(dimensions: tuple[int, ...]) -> int:
    product = 1
    for dimension in dimensions:
        product *= dimension
    return product


def _read_whole(value: Any) -> int:  # Any: JSON
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"not a whole number: {value!r}")
    return value


def _make_error(fact: str, where: str) -> HeaderError:
    return HeaderError(f"not a readable safetensors header: {fact}", where=where)
