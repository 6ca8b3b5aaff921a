"""Data sets of pictures, written to a folder: pictures, captions and the manifest, and nothing of an earlier one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.client.api import Api
from corral.client.file_fetching import fetch_file
from corral.errors import CorralError, Kind
from corral.files import write_whole
from corral.work import Json

MANIFEST = "manifest.json"
PATH = "/corral/v1/pictures/data-set"
_AT_ONCE = 4


class OtherFolderError(CorralError):
    """A folder has files that no data set of an earlier export lists."""

    code: ClassVar[str] = "data_set.other_folder"
    kind: ClassVar[Kind] = Kind.CONFLICT


class FolderUnwritableError(CorralError):
    """The folder of a data set cannot be written to."""

    code: ClassVar[str] = "data_set.unwritable"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenDataSet:
    """A data set in a folder."""

    folder: str
    pictures: int
    captions: int
    removed: int
    """Files of an earlier data set in this folder that are not in this one."""


async def write_data_set(api: Api, query: Sequence[tuple[str, str | int]], folder: Path) -> WrittenDataSet:
    """Write the data set that a query chooses to a folder; run again, it adds what is missing.

    Raises: RemoteError, OtherFolderError, FolderUnwritableError.
    """
    manifest = await api.get(PATH, list(query))
    wanted = {name for picture in manifest["pictures"] for name in _list_files(picture)}
    try:
        removed = await asyncio.to_thread(_prepare, folder, manifest, wanted)
        await _fetch_all(api, manifest["pictures"], folder)
    except OSError as error:
        hint = "make room, or choose another `--out`, and run it again"
        raise FolderUnwritableError(f"the data set cannot be written: {error}", where=str(folder), hint=hint) from error
    return WrittenDataSet(
        folder=str(folder), pictures=len(manifest["pictures"]), captions=manifest["captions"], removed=removed
    )


def _prepare(folder: Path, manifest: Json, wanted: set[str]) -> int:
    """Write the manifest and remove what an earlier one has in excess; return how many files. Blocks.

    The manifest comes first: whenever this is killed, each file of the folder is in it, or in the earlier one and gone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    earlier = _read_files(folder / MANIFEST) if present else set[str]()
    if earlier is None:
        raise OtherFolderError(
            "the folder has files, and no manifest of a data set", where=str(folder), hint="choose an empty folder"
        )
    excess = (earlier & present) - wanted
    for name in excess:
        with suppress(FileNotFoundError):
            (folder / name).unlink()
    write_whole(folder / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2))
    return len(excess)


def _read_files(path: Path) -> set[str] | None:
    """Return the plain names of the files that a manifest lists; None where it is none."""
    try:
        manifest: Json = json.loads(path.read_text(encoding="utf-8"))
        names = [name for picture in manifest["pictures"] for name in _list_files(picture)]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {name for name in names if name == Path(name).name}


def _list_files(picture: Json) -> list[str]:
    return [picture["file"], *([picture["caption_file"]] if picture["caption_file"] else [])]


async def _fetch_all(api: Api, pictures: Sequence[Json], folder: Path) -> None:
    """Fetch pictures, some at once; those with the same content one after the other."""
    gate = asyncio.Semaphore(_AT_ONCE)
    by_content: dict[str, list[Json]] = {}
    for picture in pictures:
        by_content.setdefault(picture["sha256"], []).append(picture)

    async def fetch(alike: Sequence[Json]) -> None:
        async with gate:
            for picture in alike:
                await _fetch(api, picture, folder)

    try:
        async with asyncio.TaskGroup() as group:
            for alike in by_content.values():
                group.create_task(fetch(alike))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def _fetch(api: Api, picture: Json, folder: Path) -> None:
    if picture["caption_file"]:
        await asyncio.to_thread(write_whole, folder / picture["caption_file"], f"{picture['caption']}\n")
    path = f"/corral/v1/artifacts/{picture['sha256']}"
    await fetch_file(api, path, folder / picture["file"], size=picture["size"], sha256=picture["sha256"])
