"""The manifest: what each task of a run did and made, for people and for programs that come after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from corral.client.progress import TaskView
from corral.client.tally import counts
from corral.work import Json

VERSION = 1
"""Grows when a reader of older manifests could be misled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """Which run a manifest is of."""

    name: str
    batch: int
    digest: str
    """SHA-256 of what was asked for."""


def manifest(heading: Heading, tasks: Sequence[TaskView], files: Mapping[int, Mapping[str, str]]) -> Json:
    """Return the manifest; `files` has, by task and output, the name of the file in the folder."""
    return {
        "version": VERSION,
        "name": heading.name,
        "batch": heading.batch,
        "digest": heading.digest,
        "states": counts(tasks),
        "tasks": [_task(task, files.get(task.id, {})) for task in tasks],
    }


def names_in(path: Path, batch: int) -> dict[tuple[int, str], str]:
    """Return the file names that a manifest of this batch gave, by task and output; none when it is of another."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if earlier["batch"] != batch:
            return {}
        return {
            (task["id"], output["name"]): output["file"]
            for task in earlier["tasks"]
            for output in task["outputs"]
            if _is_plain(output["file"])
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # absent, or not ours: names are then given anew


def _is_plain(name: Json) -> bool:
    """Whether a name stays in the folder, whoever wrote the manifest."""
    return isinstance(name, str) and name == Path(name).name and not name.startswith(".")


def _task(task: TaskView, files: Mapping[str, str]) -> Json:
    return {
        "id": task.id,
        "name": task.name,
        "state": task.state,
        "engine": task.engine,
        "model": task.model,
        "inputs": dict(task.inputs),
        "slots": list(task.slots),
        "failed_attempts": task.failed_attempts,
        "started_at": _instant(task.started_at),
        "finished_at": _instant(task.finished_at),
        "waited_s": task.waited_s,
        "ran_s": task.ran_s,
        "values": task.result,
        "outputs": [
            {
                "name": output.name,
                "file": files.get(output.name),
                "sha256": output.sha256,
                "size": output.size,
                "media_type": output.media_type,
            }
            for output in task.outputs
        ],
        "error": task.error,
    }


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
