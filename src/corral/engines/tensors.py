"""Tensors of a file that PyTorch wrote, read without PyTorch and without running what is in it.

From version 1.6 on such a file is a zip: `data.pkl`, a pickle of the object, and `data/<key>`, the numbers of each
storage. Before, it was five pickles (a magic number, a version, facts of the machine, the object, the names of its
storages), then each storage: its count, and its numbers. A pickle is a program that can call anything that it can name.
This reader knows four names, those that tensors are made with, and each stands for code of this module; any other ends
it. Tensors of whole numbers (counters of training) are left out.

Source: PyTorch's own reader, in `torch/serialization.py`.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from corral.work import TaskInvalidError

Numbers = npt.NDArray[np.float32]

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_FLOATS, _INTEGERS = "floats", "integers"
"""Stand for the classes of a storage of 32-bit floating-point numbers, and of 64-bit integers."""
_LARGEST_PICKLE = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    count: int
    kind: str


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor whose numbers come later in the file."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_rest: object
) -> _Tensor:
    """Stands for `torch._utils._rebuild_tensor_v2`; the rest is about gradients."""
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_KNOWN: Mapping[tuple[str, str], Any] = {  # Any: two callables and a word
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "FloatStorage"): _FLOATS,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
}


class _Reader(pickle.Unpickler):
    known = _KNOWN

    def find_class(self, module_name: str, global_name: str, /) -> Any:  # Any: as the base class has it
        if (module_name, global_name) not in self.known:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which no tensor needs")
        return self.known[module_name, global_name]

    def persistent_load(self, pid: Any, /) -> _Storage:  # Any: as the base class has it
        match pid:
            case ("storage", "floats" | "integers" as kind, str(key), str(), int(count)) | (
                "storage",
                "floats" | "integers" as kind,
                str(key),
                str(),
                int(count),
                None,
            ):
                return _Storage(key, count, kind)
            case _:
                raise pickle.UnpicklingError("it has a storage that is not of 32-bit floating-point numbers")


class _ArchiveReader(_Reader):
    """In a zip the integers of a storage are a member of their own, and need not be read."""

    known = MappingProxyType({**_KNOWN, ("torch", "LongStorage"): _INTEGERS})


def read_tensors(path: Path, entry: str) -> dict[str, Numbers]:
    """Return the tensors below an entry of a file's object, by name. Blocks. Raises: TaskInvalidError."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _read_archive(archive, entry)
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
    return {name: _take(tensor, storages[tensor.storage.key]) for name, tensor in _list_floats(described)}


def _read_archive(archive: zipfile.ZipFile, entry: str) -> dict[str, Numbers]:
    (index,) = (info for info in archive.infolist() if info.filename.endswith("/data.pkl"))
    folder = index.filename.removesuffix("data.pkl")
    if index.file_size > _LARGEST_PICKLE:
        raise ValueError(f"its pickle has {index.file_size} bytes")
    with archive.open(index) as source:
        described = _ArchiveReader(source).load()[entry]
    return {
        name: _take(tensor, _read_member(archive, f"{folder}data/{tensor.storage.key}", tensor.storage.count))
        for name, tensor in _list_floats(described)
    }


def _read_member(archive: zipfile.ZipFile, name: str, count: int) -> Numbers:
    if archive.getinfo(name).file_size != 4 * count:  # before it is read: a small zip can have a large member
        raise ValueError(f"{name} has not the size of its numbers")
    return np.frombuffer(archive.read(name), "<f4")


def _list_floats(described: Mapping[str, object]) -> list[tuple[str, _Tensor]]:
    return [
        (name, tensor)
        for name, tensor in described.items()
        if isinstance(tensor, _Tensor) and tensor.storage.kind == _FLOATS
    ]


def _read_storage(source: IO[bytes]) -> Numbers:
    count = int.from_bytes(source.read(8), "little")
    content = source.read(4 * count)
    if len(content) != 4 * count:
        raise ValueError("it is cut off")
    return np.frombuffer(content, "<f4")


def _take(tensor: _Tensor, storage: Numbers) -> Numbers:
    count, expected = 1, list[int]()
    for length in reversed(tensor.shape):
        expected.insert(0, count)
        count *= length
    if tensor.strides != tuple(expected):
        raise ValueError("it has a tensor that is not in rows")
    numbers = storage[tensor.offset : tensor.offset + count]
    return numbers.reshape(tensor.shape).astype(np.float32)
