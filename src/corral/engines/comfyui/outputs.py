"""Which of a prompt's outputs are kept, what they are called, and bringing them here.

A node's output is a mapping of lists (`images`, `gifs`, `audio`, `latents`, `text`, and what custom nodes invent).
Items that name a file are files; texts are kept as text files; anything else (the flags of `animated`) is left out.

A 3D model is a text: a path among a node's `result`, without the folder that it is in. The jobs routes rewrite it to a
file of the outputs with the path in its name; `/view` strips folders from names, so the path belongs to the subfolder.
"""

from __future__ import annotations

import asyncio
import json
import mimetypes
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from corral.engines.comfyui.client import ComfyClient, Timings
from corral.engines.comfyui.errors import InstanceUnreachableError, OutputMissingError, OutputUnwritableError
from corral.engines.narrowing import LARGEST_TEXT
from corral.narrowing import as_list, as_object, as_text
from corral.work import Json, OutputFile

_ANY_TYPE = "application/octet-stream"
_DOWNLOADS = 3
"""Tries per file: a download that breaks off is read again from the start."""

_MODELS_3D = (".obj", ".fbx", ".gltf", ".glb", ".usdz")
"""The endings by which ComfyUI itself recognizes 3D models (`comfy_execution/jobs.py`)."""
_OTHER_FOLDERS = ("temp", "input")
"""Where a 3D model can be that is not among the outputs: a preview, or a model that was loaded."""

_UNSAFE = re.compile(r"[^\w.,+@() -]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file on the instance and the name it gets here."""

    node: str
    name: str
    params: Mapping[str, str]
    """The query of `/view`."""
    other_folders: tuple[str, ...] = ()
    """Types to ask for where it is not in the folder of its own: the instance does not say which one it is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text that a node gave out, and the file name it gets here."""

    node: str
    name: str
    content: str


def choose(outputs: Mapping[str, Json], which: Literal["saved", "previews", "all"]) -> list[RemoteFile | Text]:
    """List what to keep, by node and in the node's order, under safe and unique names."""
    items = [item for node in sorted(outputs, key=_rank_node) for item in _list_items(node, as_object(outputs[node]))]
    saved = [item for item in items if not _is_preview(item)]
    previews = [item for item in items if _is_preview(item)]
    match which:
        case "saved":
            # A text in addition to previews does not make a workflow one that saves: its previews are its purpose.
            has_files = any(isinstance(item, RemoteFile) for item in saved)
            chosen = saved if has_files else saved + previews
        case "previews":
            chosen = previews
        case "all":
            chosen = items
    return _give_unique_names(chosen)


def describe(outputs: Mapping[str, Json], items: Sequence[RemoteFile | Text]) -> dict[str, Json]:
    """Return what each node gave out, as the instance reports it; files that are kept have their name here, `output`.

    Texts are left out where all of it would be longer than what is kept with a task.
    """
    names = {_identify(item): item.name for item in items if isinstance(item, RemoteFile)}
    nodes = {node: _name_files(node, as_object(lists), names) for node, lists in outputs.items()}
    if len(json.dumps(nodes)) <= LARGEST_TEXT:
        return nodes
    return {node: {kind: items for kind, items in lists.items() if kind != "text"} for node, lists in nodes.items()}


def _name_files(node: str, lists: dict[str, Json], names: Mapping[str, str]) -> dict[str, Json]:
    return {
        kind: [_name_file(node, item, names) for item in cast("list[Json]", items)]
        if isinstance(items, list)
        else items
        for kind, items in lists.items()
    }


def _name_file(node: str, item: Json, names: Mapping[str, str]) -> Json:
    file = as_object(item)
    if not as_text(file.get("filename")):
        return item
    name = names.get(_identify(_make_file(node, file)))
    return file if name is None else {**file, "output": name}


def _identify(file: RemoteFile) -> str:
    return json.dumps([file.node, *sorted(file.params.items())])


def _rank_node(node: str) -> tuple[int, str]:
    return (int(node), "") if node.isdecimal() else (2**31, node)


def _list_items(node: str, lists: dict[str, Json]) -> Iterator[RemoteFile | Text]:
    for kind, items in lists.items():
        for number, item in enumerate(as_list(items)):
            is_path = isinstance(item, str) and kind != "text" and item.lower().endswith(_MODELS_3D)
            file: dict[str, Json] = {"filename": item, "mediaType": "3d"} if is_path else as_object(item)
            if as_text(file.get("filename")):
                yield _make_file(node, file)
            elif kind == "text" and isinstance(item, str):
                yield Text(node=node, name=make_safe_name(f"text_{node}_{number + 1}.txt"), content=item)


def _make_file(node: str, file: dict[str, Json]) -> RemoteFile:
    path = as_text(file["filename"])
    folder, _, filename = path.rpartition("/") if ".." not in path else ("", "", path)  # which is refused as it is
    subfolder = "/".join(part for part in (as_text(file.get("subfolder")), folder) if part)
    params = {"filename": filename, "subfolder": subfolder, "type": as_text(file.get("type")) or "output"}
    others = _OTHER_FOLDERS if file.get("mediaType") == "3d" else ()
    return RemoteFile(node=node, name=make_safe_name(filename), params=params, other_folders=others)


def make_safe_name(name: str) -> str:
    """Turn any name into a plain file name: no folders, no control characters, not hidden, at most 120 characters."""
    plain = _UNSAFE.sub("_", name.replace("\\", "/").rsplit("/", 1)[-1]).strip(". ")
    stem, dot, ending = plain.rpartition(".")
    return f"{stem[:100]}{dot}{ending[:16]}" if stem else plain[:120] or "output"


def _is_preview(item: RemoteFile | Text) -> bool:
    return isinstance(item, RemoteFile) and item.params["type"] == "temp"


def _give_unique_names(items: Sequence[RemoteFile | Text]) -> list[RemoteFile | Text]:
    taken: set[str] = set()
    result: list[RemoteFile | Text] = []
    for item in items:
        name = next(name for name in _propose_names(item) if name.casefold() not in taken)
        taken.add(name.casefold())
        result.append(_rename(item, name))
    return result


def _propose_names(item: RemoteFile | Text) -> Iterator[str]:
    yield item.name
    node = make_safe_name(item.node)
    yield f"{node}-{item.name}"
    number = 2
    while True:
        yield f"{node}-{number}-{item.name}"
        number += 1


def _rename(item: RemoteFile | Text, name: str) -> RemoteFile | Text:
    return replace(item, name=name)


async def bring(
    client: ComfyClient, items: Sequence[RemoteFile | Text], scratch: Path, timings: Timings
) -> tuple[OutputFile, ...]:
    """Bring everything into `scratch`, one after the other. Raises: OutputMissingError, EngineUnavailableError."""
    files: list[OutputFile] = []
    for item in items:
        target = scratch / item.name
        try:
            media_type = await _bring_one(client, item, target, timings)
        except OSError as error:  # the instance's own failures are translated by the client
            raise OutputUnwritableError(f"cannot write {item.name!r}: {error.strerror}", where=str(scratch)) from error
        files.append(OutputFile(name=item.name, path=target, media_type=media_type))
    return tuple(files)


async def _bring_one(client: ComfyClient, item: RemoteFile | Text, target: Path, timings: Timings) -> str:
    if isinstance(item, Text):
        await asyncio.to_thread(target.write_text, item.content, "utf-8")
        return "text/plain; charset=utf-8"
    media_type = await _find_and_download(client, item, target, timings)
    # ComfyUI sends types it does not know as octet streams; the name often knows better.
    return media_type if media_type != _ANY_TYPE else mimetypes.guess_type(item.name)[0] or media_type


async def _find_and_download(client: ComfyClient, file: RemoteFile, target: Path, timings: Timings) -> str:
    try:
        return await _download(client, file.params, target, timings)
    except OutputMissingError:
        for folder in file.other_folders:
            with suppress(OutputMissingError):
                return await _download(client, {**file.params, "type": folder}, target, timings)
        raise


async def _download(client: ComfyClient, params: Mapping[str, str], target: Path, timings: Timings) -> str:
    pause = timings.retry_s
    for remaining in reversed(range(_DOWNLOADS)):
        try:
            return await client.download(params, target)
        except InstanceUnreachableError:
            if not remaining:
                raise
        await asyncio.sleep(pause)
        pause *= 2
    raise AssertionError("the last try returns or raises")
