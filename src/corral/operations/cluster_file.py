"""Text files as use cases take them, and the cluster file above all: doors read files, use cases take their text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.cluster import Cluster, load
from corral.cluster.document import ClusterFileError
from corral.cluster.parsing import LARGEST_TEXT
from corral.errors import CorralError, Kind, Problem
from corral.hardware.catalogue import find_gpu

USUAL_NAME = "cluster.yaml"
_MOST_BYTES = 4 * LARGEST_TEXT
"""A character of UTF-8 has at most four bytes; the parser decides how many characters are too many."""


class UnreadableClusterFileError(CorralError):
    """The cluster file cannot be opened."""

    code: ClassVar[str] = "cluster.unreadable"
    kind: ClassVar[Kind] = Kind.MISSING


class NotTextError(CorralError):
    """The cluster file is not text."""

    code: ClassVar[str] = "cluster.not_text"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class FileText:
    """The text of a file, wherever it is."""

    text: str
    """All of it."""
    name: str = USUAL_NAME
    """What problems call the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterText:
    """A cluster file with its text, so that it can be edited with its comments kept."""

    name: str
    """The path as it was given, for problems and headings."""
    text: str
    cluster: Cluster


def read_cluster_file(path: Path | None) -> FileText:
    """Read a cluster file unchecked; without one, `cluster.yaml` in this folder.

    Raises: UnreadableClusterFileError, NotTextError, ClusterFileError for a file that is too large.
    """
    chosen = path or Path(USUAL_NAME)
    try:
        data = read_bounded(chosen)
        text = None if data is None else data.decode("utf-8")  # line ends stay as they are, for edits of the text
    except UnicodeDecodeError as error:
        what = f"the cluster file is not UTF-8 text: byte {error.start + 1} is {error.object[error.start]:#04x}"
        raise NotTextError(what, where=str(chosen), hint="save it as UTF-8") from error
    except OSError as error:
        raise UnreadableClusterFileError(
            f"cannot read the cluster file: {error.strerror}",
            where=str(chosen),
            hint="name one, or write one for this machine with `corral inventory > cluster.yaml`",
        ) from error
    if text is None:
        raise ClusterFileError([report_too_large("cluster.too_large", chosen)])
    return FileText(text=text, name=str(chosen))


def check_cluster(file: FileText) -> ClusterText:
    """Check a cluster file against the catalogue. Raises: ClusterFileError with every problem of the file."""
    return read_cluster(file.text, name=file.name)


def read_bounded(path: Path) -> bytes | None:
    """Read a file of text; None when it is larger than any that is taken (`/dev/zero` has no end). Raises: OSError."""
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    return data if len(data) <= _MOST_BYTES else None


def report_too_large(code: str, path: Path) -> Problem:
    """Report a file that `read_bounded` did not take."""
    return Problem(code=code, what=f"the file has more than {_MOST_BYTES} bytes", where=str(path), hint="split it")


def read_cluster(text: str, *, name: str) -> ClusterText:
    """Check the text of a cluster file against the catalogue. Raises: ClusterFileError."""
    return ClusterText(name=name, text=text, cluster=load(text, filename=name, find_gpu=find_gpu))
