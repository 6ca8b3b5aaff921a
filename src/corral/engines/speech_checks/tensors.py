"""Tensors of a file that PyTorch wrote before version 1.6, read without PyTorch and without running what is in it.

Such a file is five pickles (a magic number, a version, facts of the machine, the object, the names of its storages),
then each storage: its count, and its numbers. A pickle is a program that can call anything that it can name. This
reader knows three names, those that tensors are made with, and each stands for code of this module; any other ends it.

Source: PyTorch's own reader, in `torch/serialization.py`.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from corral.work import TaskInvalidError

Numbers = npt.NDArray[np.float32]

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_FLOATS = "floats"
"""Stands for the class of a storage of 32-bit floating-point numbers."""


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor whose numbers come later in the file."""

    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_rest: object
) -> _Tensor:
    """Stands for `torch._utils._rebuild_tensor_v2`; the rest is about gradients."""
    return _Tensor(storage.key, offset, tuple(shape), tuple(strides))


_KNOWN: Mapping[tuple[str, str], Any] = {  # Any: two callables and a word
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "FloatStorage"): _FLOATS,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:  # Any: as the base class has it
        if (module_name, global_name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which no tensor needs")
        return _KNOWN[module_name, global_name]

    def persistent_load(self, pid: Any, /) -> _Storage:  # Any: as the base class has it
        match pid:
            case ("storage", "floats", str(key), str(), int(), None):
                return _Storage(key)
            case _:
                raise pickle.UnpicklingError("it has a storage that is not of 32-bit floating-point numbers")


def read_tensors(path: Path, entry: str) -> dict[str, Numbers]:
    """Return the tensors below an entry of a file's object, by name. Blocks. Raises: TaskInvalidError."""
    try:
        with path.open("rb") as source:
            return _read(source, entry)
    except Exception as error:  # a damaged pickle raises whatever its instructions run into
        what = f"{path.name!r} is not a file of tensors that can be read here: {error}"
        raise TaskInvalidError(what, hint="fetch the model again: `corral models pull`") from error


def _read(source: IO[bytes], entry: str) -> dict[str, Numbers]:
    if (_Reader(source).load(), _Reader(source).load()) != (_MAGIC, _VERSION):
        raise ValueError("it has not the form that PyTorch wrote before version 1.6")
    _Reader(source).load()
    described = _Reader(source).load()[entry]
    storages = {key: _read_storage(source) for key in _Reader(source).load()}
    return {name: _take(tensor, storages) for name, tensor in described.items() if isinstance(tensor, _Tensor)}


def _read_storage(source: IO[bytes]) -> Numbers:
    count = int.from_bytes(source.read(8), "little")
    content = source.read(4 * count)
    if len(content) != 4 * count:
        raise ValueError("it is cut off")
    return np.frombuffer(content, "<f4")


def _take(tensor: _Tensor, storages: Mapping[str, Numbers]) -> Numbers:
    count, expected = 1, list[int]()
    for length in reversed(tensor.shape):
        expected.insert(0, count)
        count *= length
    if tensor.strides != tuple(expected):
        raise ValueError("it has a tensor that is not in rows")
    numbers = storages[tensor.key][tensor.offset : tensor.offset + count]
    return numbers.reshape(tensor.shape).astype(np.float32)
