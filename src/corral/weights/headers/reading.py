"""From the name of a model to its shape, reading nothing but headers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlsplit

from corral.hardware.fit.shape import ModelShape
from corral.weights.downloads import open_session
from corral.weights.errors import ModelMissingError, SourceError
from corral.weights.fetching import Connections
from corral.weights.headers.byte_sources import ByteSource, Folder, OnBytes, WebFolder, cut_short
from corral.weights.headers.errors import HeaderError, MoreBytesNeeded, UnknownFormatError
from corral.weights.headers.gguf import MAGIC, read_gguf
from corral.weights.headers.gguf_shape import shape_of_gguf
from corral.weights.headers.safetensors import (
    SafetensorsTensor,
    is_safetensors,
    parse_mapping,
    read_safetensors,
)
from corral.weights.headers.safetensors_shape import shape_of_safetensors
from corral.weights.values import Entry, HuggingFaceSource, UrlSource

_FIRST = 1 << 18
"""Bytes that are asked for first: enough for what comes before the vocabulary."""
_LARGEST_JSON = 64 * 2**20
_MOST_FILES = 1000
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.gguf)")
_INDEX = "model.safetensors.index.json"
_T = TypeVar("_T")


async def shape_here(path: Path, *, name: str) -> ModelShape:
    """Read the shape of a model of this machine: a file, or a folder with its files.

    Raises: HeaderError, UnknownFormatError, ModelMissingError.
    """
    folder, file = (path, _find_main_file(path)) if path.is_dir() else (path.parent, path.name)
    return await shape_at(Folder(folder), file, name=name)


async def shape_there(entry: Entry, *, connections: Connections, on_bytes: OnBytes) -> ModelShape:
    """Read the shape of a model on Hugging Face or on a web server, fetching only headers.

    Raises: HeaderError, UnknownFormatError, SourceError for the last source when none gives it.
    """
    last: SourceError | None = None
    async with open_session() as session:
        for source in entry.sources:
            file = entry.opens or entry.files[0].name
            if isinstance(source, HuggingFaceSource):
                path = PurePosixPath(source.paths[file])
                base = f"{connections.hugging_face}/{source.repo}/resolve/{quote(source.revision, safe='')}"
                base = base if path.parent == PurePosixPath(".") else f"{base}/{quote(str(path.parent))}"
                token = connections.hugging_face_token
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                place = WebFolder(session, base, headers=headers, on_bytes=on_bytes, patience=connections.patience)
            elif isinstance(source, UrlSource):
                parts = urlsplit(source.urls[file])
                base = parts._replace(path=str(PurePosixPath(parts.path).parent).rstrip("/"), query="").geturl()
                query = f"?{parts.query}" if parts.query else ""
                place = WebFolder(
                    session, base, headers={}, on_bytes=on_bytes, patience=connections.patience, query=query
                )
                path = PurePosixPath(parts.path)
            else:
                continue
            try:
                return await shape_at(place, path.name, name=entry.name)
            except SourceError as error:
                last = error
    raise last or ModelMissingError(
        f"the header of {entry.name!r} can only be read here", hint=f"corral models pull {entry.name}"
    )


async def shape_at(place: ByteSource, file: str, *, name: str) -> ModelShape:
    """Read the shape of the model that a file of a place is, or begins, or lists.

    Raises: HeaderError, UnknownFormatError, ModelMissingError, SourceError.
    """
    if file.endswith(".json"):
        return await _read_indexed(place, file, name)
    start = await place.read_start(file, _FIRST)
    if start.startswith(MAGIC):
        headers = [await _read_growing(place, part, read_gguf) for part in _list_parts(file)]
        return shape_of_gguf(headers, name=name, source=place.name_file(file))
    if is_safetensors(start):
        return await _read_safetensors_files(place, [file], name, place.name_file(file))
    raise UnknownFormatError(
        f"{file!r} is neither GGUF nor safetensors",
        where=place.name_file(file),
        hint="name a .gguf or .safetensors file",
    )


async def _read_indexed(place: ByteSource, file: str, name: str) -> ModelShape:
    where = place.name_file(file)
    index = parse_mapping(await place.read_start(file, _LARGEST_JSON), where=where)
    listed: Any = index.get("weight_map")  # Any: JSON
    if not isinstance(listed, dict):
        raise HeaderError("the index has no 'weight_map'", where=where)
    files = sorted({str(value) for value in cast("dict[str, Any]", listed).values()})
    if len(files) > _MOST_FILES or any("/" in file or "\\" in file for file in files):
        raise HeaderError("the index names too many files, or files elsewhere", where=where)
    return await _read_safetensors_files(place, files, name, where)


async def _read_safetensors_files(place: ByteSource, files: Sequence[str], name: str, source: str) -> ModelShape:
    tensors: list[SafetensorsTensor] = []
    for file in files:
        tensors += await _read_growing(place, file, read_safetensors)
    try:
        config = parse_mapping(
            await place.read_start("config.json", _LARGEST_JSON), where=place.name_file("config.json")
        )
    except (ModelMissingError, SourceError):
        config = None  # the weights are known all the same
    return shape_of_safetensors(tensors, config, name=name, source=source)


async def _read_growing(place: ByteSource, file: str, read: Callable[..., _T]) -> _T:
    """Read a header, asking for more of the file until it is whole."""
    length = _FIRST
    while True:
        data = await place.read_start(file, length)
        try:
            return read(data, where=place.name_file(file))
        except MoreBytesNeeded as error:
            if len(data) < length:
                raise cut_short(place.name_file(file), len(data)) from error
            length = max(error.at_least, 2 * length)


def _list_parts(file: str) -> list[str]:
    """List the files of a split model: `-00001-of-00003.gguf` and the others."""
    match = _PART.fullmatch(file)
    if match is None:
        return [file]
    count = int(match[3])
    if not 1 <= count <= _MOST_FILES:
        raise HeaderError(f"a model of {count} parts", where=file, hint="name the first of its files")
    return [f"{match[1]}-{number:05d}-of-{match[3]}{match[4]}" for number in range(1, count + 1)]


def _find_main_file(folder: Path) -> str:
    """Choose what to read of a folder. Raises: ModelMissingError."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    ggufs = [name for name in names if name.endswith(".gguf")]
    firsts = [name for name in ggufs if (part := _PART.fullmatch(name)) is None or int(part[2]) == 1]
    safetensors = [name for name in names if name.endswith(".safetensors")]
    if _INDEX in names:
        return _INDEX
    if len(firsts) == 1:
        return firsts[0]
    if not firsts and len(safetensors) == 1:
        return safetensors[0]
    several = [*firsts, *safetensors]
    fact = f"{len(several)} models: {', '.join(several[:5])}" if several else "no GGUF or safetensors file"
    raise ModelMissingError(f"the folder holds {fact}", where=str(folder), hint="name the file")
