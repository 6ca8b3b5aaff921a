"""What a batch file says, once it is checked: tasks as the HTTP API takes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from corral.work import Json


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of this machine that a task takes."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTask:
    """One task, defaults filled in."""

    name: str
    engine: str
    model: str | None
    body: Mapping[str, Json]
    """What the HTTP API takes, without the files of this machine."""
    local_files: Mapping[str, LocalFile] = field(default_factory=dict[str, LocalFile])

    def request(self, uploads: Mapping[Path, str]) -> dict[str, Json]:
        """Return what the HTTP API takes; `uploads` has the SHA-256 of each file of this machine."""
        uploaded = {name: {"upload": uploads[file.path]} for name, file in self.local_files.items()}
        files = {**self.body.get("files", {}), **uploaded}
        return {**self.body, "files": files} if files else dict(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFile:
    """A whole batch file."""

    name: str
    tasks: tuple[BatchTask, ...]

    @property
    def models(self) -> tuple[tuple[str, str], ...]:
        """Every engine and model that tasks name, each pair once, in the order of the file."""
        return tuple(dict.fromkeys((task.engine, task.model) for task in self.tasks if task.model is not None))

    @property
    def local_files(self) -> tuple[Path, ...]:
        """Every file of this machine that tasks take, each once."""
        return tuple(dict.fromkeys(file.path for task in self.tasks for file in task.local_files.values()))

    def request(self, uploads: Mapping[Path, str]) -> dict[str, Json]:
        """Return what `POST /corral/v1/batches` takes."""
        return {"name": self.name, "tasks": [task.request(uploads) for task in self.tasks]}


def content_digest(request: Mapping[str, Json]) -> str:
    """Return the SHA-256 of a batch's content; equal exactly when two batches ask for the same, files included."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
