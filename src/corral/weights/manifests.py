"""The small file beside a stored model that says what it is; a folder without one holds no model."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from corral.files import write_whole
from corral.units import Bytes
from corral.weights.errors import ModelDamagedError
from corral.weights.values import MANIFEST, Entry, Model, ModelFile

_VERSION = 1


def write_manifest(
    folder: Path, entry: Entry, files: tuple[ModelFile, ...], *, source: str, pulled_at: datetime
) -> None:
    """Describe the model whose files are in `folder`; on the disk when this returns."""
    content = {
        "version": _VERSION,
        "name": entry.name,
        "opens": entry.opens,
        "licence": entry.licence,
        "engines": list(entry.engines),
        "source": source,
        "pulledAt": pulled_at.isoformat(),
        "files": [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in files],
    }
    write_whole(folder / MANIFEST, json.dumps(content, indent=2) + "\n")


def read_manifest(folder: Path) -> Model | None:
    """Read what a folder of the store holds; None when it holds no model.

    Raises: ModelDamagedError when the manifest cannot be read.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _model(folder, json.loads(content))
    except (ValueError, KeyError, TypeError) as error:
        raise ModelDamagedError(
            f"the manifest of a stored model cannot be read: {error}",
            where=str(folder / MANIFEST),
            hint=f"run `corral models rm {folder.name}` and pull it again",
        ) from error


def _model(folder: Path, content: dict[str, Any]) -> Model:  # Any: JSON of our own making, checked by what it must hold
    if content["version"] != _VERSION:
        raise ValueError(f"version {content['version']!r} instead of {_VERSION}")
    files = tuple(
        ModelFile(name=str(file["name"]), size=Bytes(int(file["size"])), sha256=str(file["sha256"]))
        for file in content["files"]
    )
    opens = content["opens"]
    return Model(
        name=str(content["name"]),
        folder=folder,
        path=folder / str(opens) if opens else folder,
        files=files,
        size=Bytes(sum(file.size or 0 for file in files)),
        licence=content["licence"],
        engines=tuple(content["engines"]),
        source=str(content["source"]),
        pulled_at=datetime.fromisoformat(content["pulledAt"]),
    )
