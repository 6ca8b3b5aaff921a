"""Pictures as a data set: the names of their files, their captions, and the manifest. Pure.

A picture and its caption have the same name and different endings, as trainers of LoRAs read them (kohya's sd-scripts
and ai-toolkit: `12-dot.png` with `12-dot.txt`). The same pictures give the same manifest, byte for byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import PurePosixPath

from corral.files import to_file_name
from corral.tasks.store.gallery import Decision, Picture
from corral.units import Bytes

VERSION = 1
"""Grows when a reader of older manifests could be misled."""
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSetPicture:
    """A picture of a data set, and what it was made with."""

    file: str
    """Its name in the folder."""
    caption_file: str | None
    """None where there is no caption."""
    caption: str | None
    """The trigger word and the prompt, in one line; None where the picture has neither."""
    sha256: str
    size: Bytes
    task: int
    output: str
    owner: str
    engine: str
    model: str | None
    prompt: str | None
    seed: str | None
    labels: Mapping[str, str]
    decision: Decision | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A data set's manifest."""

    version: int
    captions: int
    """How many of the pictures have one."""
    pictures: tuple[DataSetPicture, ...]
    """In the order of their tasks."""


def make_data_set(pictures: Sequence[Picture], *, trigger: str | None = None) -> DataSet:
    """Make the data set of these pictures; `trigger` is the word that every caption begins with."""
    ordered = sorted(pictures, key=lambda picture: (picture.task, picture.name))
    stems = _name_stems(ordered)
    entries = tuple(_make_entry(picture, stem, trigger) for picture, stem in zip(ordered, stems, strict=True))
    return DataSet(version=VERSION, captions=sum(entry.caption is not None for entry in entries), pictures=entries)


def _make_entry(picture: Picture, stem: str, trigger: str | None) -> DataSetPicture:
    caption = ", ".join(filter(None, (trigger, " ".join((picture.prompt or "").split())))) or None
    return DataSetPicture(
        file=f"{stem}.{to_file_name(picture.media_type.rpartition('/')[2])}",
        caption_file=None if caption is None else f"{stem}.txt",
        caption=caption,
        sha256=picture.sha256,
        size=picture.size,
        task=picture.task,
        output=picture.name,
        owner=picture.owner,
        engine=picture.engine,
        model=picture.model,
        prompt=picture.prompt,
        seed=picture.seed,
        labels=picture.labels,
        decision=picture.decision,
        note=picture.note,
    )


def _name_stems(pictures: Sequence[Picture]) -> list[str]:
    """Return a name for each picture, in their order: its task's number, with the output's where there are several."""
    alone = Counter(picture.task for picture in pictures)
    stems: list[str] = []
    taken: set[str] = set()
    for picture in pictures:
        name = to_file_name(PurePosixPath(picture.name).stem)
        wanted = str(picture.task) if alone[picture.task] == 1 else f"{picture.task}-{name}"
        numbered = (f"{wanted}-{number}" for number in count(2))
        stems.append(next(stem for stem in chain([wanted], numbered) if stem.casefold() not in taken))
        taken.add(stems[-1].casefold())
    return stems
