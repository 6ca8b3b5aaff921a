"""Checkpoints of a task: each one is a folder that is there whole, on the disk, or not at all.

Layout of a task's folder: `step-00000050/` is a checkpoint, `.new-<random>` one that is being written, `journal` one
line for each step that was done: its number and its loss. A step that is done again after a kill has a second line.
`ended` is there once the last step was done. The folder outlives that for a day: a server that is killed before it has
stored the result asks for it again, and no step is done twice.

Belongs here: writing, finding and removing checkpoints. Standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

from corral.files import sync_file, sync_folder

JOURNAL = "journal"
KEPT = 2
"""The last one, and the one before it should the last one not be readable."""
ENDED = "ended"
_ENDED_S = 86_400.0
"""How long the folder of a task that has ended is kept: a machine that lost its power is on again the next day."""
_OPEN_S = 14 * 86_400.0
"""How long that of any other is kept after its last checkpoint: it can be retried until then."""
_NAME = re.compile(r"step-(\d{8})")


def name_folder(task: int, recipe: str, model: str, options: Mapping[str, object], data: bytes) -> str:
    """Return the name of a task's folder, of no other training: numbers of tasks recur after a backup is restored."""
    described = json.dumps([recipe, model, dict(options)], sort_keys=True).encode()
    return f"task-{task}-{hashlib.sha256(described + data).hexdigest()[:16]}"


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """List the whole checkpoints of a task, the newest first, each with the step after which it was written."""
    matches = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)


def write_checkpoint(folder: Path, step: int, write: Callable[[Path], None]) -> Path:
    """Write a checkpoint: `write` fills the folder that it gets. On the disk when this returns. Raises: OSError."""
    made = folder / f".new-{uuid4().hex}"
    made.mkdir(parents=True)
    write(made)
    for path in made.iterdir():
        sync_file(path)
    sync_folder(made)
    final = folder / f"step-{step:08d}"
    if final.exists():
        shutil.rmtree(final)
    made.rename(final)
    sync_folder(folder)
    _remove_old(folder)
    return final


def note_step(folder: Path, step: int, loss: float) -> None:
    """Write a line for a step that was done."""
    with (folder / JOURNAL).open("a", encoding="ascii") as file:
        file.write(f"{step} {loss:.6g}\n")


def read_journal(folder: Path) -> list[tuple[int, float]]:
    """Read the steps that were done, with their losses, in the order in which they were; a line cut off is left out."""
    try:
        text = (folder / JOURNAL).read_text(encoding="ascii")
    except FileNotFoundError:
        return []
    lines = [line.split() for line in text.split("\n")[:-1]]
    return [(int(line[0]), float(line[1])) for line in lines if len(line) == 2]


def end_task(folder: Path) -> None:
    """Note that the last step was done, and keep only the checkpoint after it."""
    (folder / ENDED).touch()
    _remove_old(folder, kept=1)


def remove_outlived(root: Path, now: float | None = None) -> None:
    """Remove the folders below `root` of tasks that ended, or did no step, long ago; `now` is in seconds since 1970."""
    at = time.time() if now is None else now
    for folder in root.glob("task-*/"):
        if at - folder.stat().st_mtime > (_ENDED_S if (folder / ENDED).exists() else _OPEN_S):
            shutil.rmtree(folder, ignore_errors=True)


def _remove_old(folder: Path, kept: int = KEPT) -> None:
    for _, path in list_checkpoints(folder)[kept:]:
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".new-*"):
        shutil.rmtree(path, ignore_errors=True)
