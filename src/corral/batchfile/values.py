"""The content of a batch file, once it is checked: the body that the HTTP API takes, files of this machine apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from corral.batchfile.drawing import Wildcards
from corral.requests import fill_in
from corral.work import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTask:
    """One task with the batch's defaults, to be shown and planned with; the server fills them in for itself."""

    name: str
    engine: str
    model: str | None
    body: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A whole batch file."""

    body: Mapping[str, Json]
    """What `POST /corral/v1/batches` takes, with `{"path": ...}` for each file of this machine, and nothing drawn."""
    wildcards: Wildcards = field(default_factory=dict[str, "Sequence[str]"])
    origins: tuple[int, ...] = ()
    """For each task, which one of the file it is made from."""

    @property
    def name(self) -> str:
        """The batch's name."""
        return self.body["name"]

    @property
    def tasks(self) -> tuple[BatchTask, ...]:
        """Its tasks, in the order of the file."""
        common = self.body.get("defaults", {})
        bodies = [fill_in(task, common) for task in self.body["tasks"]]
        return tuple(
            BatchTask(name=body["name"], engine=body["engine"], model=body.get("model"), body=body) for body in bodies
        )

    @property
    def models(self) -> tuple[tuple[str, str], ...]:
        """Every engine and model that tasks name, each pair once, in the order of the file."""
        return tuple(dict.fromkeys((task.engine, task.model) for task in self.tasks if task.model is not None))

    @property
    def local_files(self) -> tuple[Path, ...]:
        """Every file of this machine that tasks take, each once."""
        parts = (self.body.get("defaults", {}), *self.body["tasks"])
        return tuple(
            dict.fromkeys(Path(file["path"]) for part in parts for file in _list_files(part) if "path" in file)
        )

    def with_everywhere(self, values: Mapping[str, Json]) -> BatchFile:
        """Return the batch with these fields in each of its tasks, whatever the file says of them; None removes one."""

        def drop(part: Mapping[str, Json]) -> dict[str, Json]:
            return {key: value for key, value in part.items() if key not in values}

        given = {key: value for key, value in values.items() if value is not None}
        defaults = {**drop(self.body.get("defaults", {})), **given}
        return replace(self, body={**self.body, "defaults": defaults, "tasks": [*map(drop, self.body["tasks"])]})

    def with_receivers(self, webhook: str | None, notify: Sequence[str]) -> BatchFile:
        """Return the batch with another webhook, and others to notify of it, where these are given."""
        given: dict[str, Json] = {"webhook": webhook} if webhook is not None else {}
        if notify:
            given["notify"] = list(notify)
        return replace(self, body={**self.body, **given})

    def request(self, uploads: Mapping[Path, str]) -> dict[str, Json]:
        """Return what `drawing.draw` takes; `uploads` has the SHA-256 of each file of this machine."""
        request: dict[str, Json] = {
            **self.body,
            "tasks": [_replace_paths(task, uploads) for task in self.body["tasks"]],
        }
        if "defaults" in request:
            request["defaults"] = _replace_paths(request["defaults"], uploads)
        return request


def _list_files(part: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    return iter(part.get("files", {}).values())


def _replace_paths(part: Mapping[str, Json], uploads: Mapping[Path, str]) -> dict[str, Json]:
    if "files" not in part:
        return dict(part)
    files = {
        name: {"upload": uploads[Path(file["path"])]} if "path" in file else file
        for name, file in part["files"].items()
    }
    return {**part, "files": files}


def digest_content(request: Mapping[str, Json], wildcards: Wildcards) -> str:
    """Return the SHA-256 of a batch's content; equal exactly when two batches ask for the same, files included."""
    content = {**request, "wildcards": wildcards} if wildcards else request
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
