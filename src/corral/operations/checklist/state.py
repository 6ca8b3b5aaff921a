"""Keeps the answers of a checklist in a file, so that it can stop at any moment and go on.

One file for each cluster, `checklists/<cluster>.json` in the data directory: written to a temporary name, synced,
renamed. It is bound to the upgrade by a digest of its items. A command is recorded as started before it starts: a file
that still records a start belongs to a command whose end is unknown. A lock keeps two runs of one checklist apart.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from corral.errors import CorralError, Kind
from corral.files import write_whole
from corral.operations.checklist.values import Answer, Status
from corral.planning.checklist import Checklist, Item

VERSION = 1
FOLDER = "checklists"


class DamagedChecklistError(CorralError):
    """The file with the answers cannot be read."""

    code: ClassVar[str] = "checklist.damaged"
    kind: ClassVar[Kind] = Kind.CONFLICT


class UnreachableAnswersError(CorralError):
    """The file with the answers, or its folder, cannot be opened."""

    code: ClassVar[str] = "checklist.unreachable"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class OtherUpgradeError(CorralError):
    """The answers belong to another upgrade, or to this one before its files were changed."""

    code: ClassVar[str] = "checklist.other_upgrade"
    kind: ClassVar[Kind] = Kind.CONFLICT


class BusyChecklistError(CorralError):
    """Another run works on this checklist."""

    code: ClassVar[str] = "checklist.busy"
    kind: ClassVar[Kind] = Kind.CONFLICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The answers of one checklist."""

    digest: str
    """Of the upgrade."""
    started_at: datetime
    answers: Mapping[str, Answer] = field(default_factory=dict[str, Answer])
    """By the item's id."""

    def of(self, item: Item) -> Answer | None:
        """Return the item's answer, when the item is still what was answered."""
        answer = self.answers.get(item.id)
        return answer if answer is not None and answer.fingerprint == make_fingerprint(item) else None

    def with_answer(self, item: Item, answer: Answer) -> Progress:
        """Return the answers with one more, or one in place of another."""
        return replace(self, answers={**self.answers, item.id: answer})


def make_fingerprint(item: Item) -> str:
    """Identify an item with all that it asks for."""
    return hashlib.sha256(repr((item.id, item.work, item.material)).encode()).hexdigest()[:16]


def digest_of(checklist: Checklist) -> str:
    """Identify an upgrade by what it needs."""
    text = "\n".join([checklist.cluster, *(f"{item.id} {make_fingerprint(item)}" for item in checklist.items)])
    return hashlib.sha256(text.encode()).hexdigest()


def name_state_file(data_dir: Path, checklist: Checklist) -> Path:
    """Return the file for a cluster; its name keeps what file systems take."""
    return data_dir / FOLDER / f"{re.sub(r'[^A-Za-z0-9._-]', '_', checklist.cluster)}.json"


def load_progress(path: Path) -> Progress | None:
    """Read the answers; None when there are none yet. Raises: DamagedChecklistError, UnreachableAnswersError."""
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))  # Any: JSON, checked by what follows
        if raw["version"] != VERSION:
            raise ValueError(f"its version is {raw['version']}, not {VERSION}")
        return Progress(
            digest=raw["digest"],
            started_at=datetime.fromisoformat(raw["started_at"]),
            answers={id: _answer(answer) for id, answer in raw["answers"].items()},
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreachable(path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedChecklistError(
            f"the answers of the checklist cannot be read: {error}",
            where=str(path),
            hint="begin anew with `--restart`, which keeps the old file under another name",
        ) from error


def save_progress(path: Path, progress: Progress) -> None:
    """Write the answers; they are on the disk when this returns, whole or not at all. Raises: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(_make_record(progress), indent=1, ensure_ascii=False))


def begin(path: Path, checklist: Checklist, *, now: datetime, restarting: bool, carrying: bool) -> Progress:
    """Take up the answers of this upgrade, or begin.

    `restarting` puts earlier answers aside; `carrying` takes those along whose items are unchanged.

    Raises: OtherUpgradeError when there are answers of another upgrade and neither is asked for, DamagedChecklistError.
    """
    fresh = Progress(digest=digest_of(checklist), started_at=now)
    if restarting:
        if path.exists():
            path.replace(path.with_suffix(f".{now:%Y%m%dT%H%M%S}.json"))
        return fresh
    earlier = load_progress(path)
    if earlier is None:
        return fresh
    if earlier.digest == fresh.digest:
        return earlier
    same = {item.id: answer for item in checklist.items if (answer := earlier.of(item)) is not None}
    if carrying:
        return replace(fresh, started_at=earlier.started_at, answers=same)
    raise OtherUpgradeError(
        f"there are answers from {earlier.started_at:%Y-%m-%d %H:%M} of another upgrade of {checklist.cluster!r}, or "
        f"of this one before its files changed: {len(earlier.answers)} answers, {len(same)} of items that are the same",
        where=str(path),
        hint="add `--carry-over` to keep the answers of items that are the same, or `--restart` to begin anew",
    )


@contextmanager
def lock_state(path: Path) -> Generator[None]:
    """Keep other runs away from the answers. Raises: BusyChecklistError, UnreachableAnswersError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.with_suffix(".lock").open("w")
    except OSError as error:
        raise _unreachable(path.parent, error) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyChecklistError(
                "another `corral checklist` works on this checklist", where=str(path), hint="wait until it has ended"
            ) from error
        yield


def _unreachable(path: Path, error: OSError) -> UnreachableAnswersError:
    return UnreachableAnswersError(
        f"the answers of the checklist cannot be reached: {error.strerror or error}",
        where=str(path),
        hint="name another folder with `--data-dir`, or fix this one",
    )


def _make_record(progress: Progress) -> dict[str, object]:
    answers = {
        id: {
            "status": answer.status.value,
            "at": answer.at.isoformat(),
            "evidence": answer.evidence,
            "fingerprint": answer.fingerprint,
        }
        for id, answer in progress.answers.items()
    }
    return {
        "version": VERSION,
        "digest": progress.digest,
        "started_at": progress.started_at.isoformat(),
        "answers": answers,
    }


def _answer(raw: Mapping[str, Any]) -> Answer:  # Any: as above
    return Answer(
        status=Status(raw["status"]),
        at=datetime.fromisoformat(raw["at"]),
        evidence=raw["evidence"],
        fingerprint=raw["fingerprint"],
    )
