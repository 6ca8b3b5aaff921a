"""Goes through the items of a checklist: looks, asks, runs, and writes each answer down before it goes on.

Items have an order. A command is held back while an earlier item is open or failed, since it can build on it: labels
of a GPU that is not there are of no use. What an automatic item could not look at holds nothing back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol

from corral.errors import CorralError, Kind, Problem, ProblemsError, did_you_mean
from corral.kubernetes import Ran
from corral.operations.checklist.looking import Tools, look
from corral.operations.checklist.state import Progress, make_fingerprint, save_progress
from corral.operations.checklist.values import SETTLED, Agreed, Answer, Evidence, Person, Status
from corral.planning.checklist import Checklist, Command, Item, ItemKind, Question

_TOLD = 300
"""Letters of a command's output that its evidence shows."""


class UnknownItemError(ProblemsError):
    """Items were named that this checklist does not have; `problems` has each of them."""

    code: ClassVar[str] = "checklist.unknown_item"
    kind: ClassVar[Kind] = Kind.MISSING


class UnsavedAnswerError(CorralError):
    """An answer cannot be written down."""

    code: ClassVar[str] = "checklist.unsaved"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class Watcher(Protocol):
    """Receives the progress of a run."""

    def begins(self, item: Item) -> None:
        """An item is taken up."""
        ...

    def ends(self, item: Item, evidence: Evidence | None) -> None:
        """An item was answered, or left open."""
        ...

    def holds(self, item: Item, earlier: Item) -> None:
        """A command is held back by an earlier item."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Answers and where they are kept."""

    progress: Progress
    path: Path

    def write_answer(self, item: Item, evidence: Evidence, now: datetime) -> Kept:
        """Write an answer down; it is on the disk when this returns. Raises: UnsavedAnswerError."""
        answer = Answer(
            status=evidence.status, at=now, evidence=" ".join(evidence.what.split()), fingerprint=make_fingerprint(item)
        )
        progress = self.progress.with_answer(item, answer)
        try:
            save_progress(self.path, progress)
        except OSError as error:
            raise UnsavedAnswerError(
                f"cannot write the answers: {error.strerror or error}", where=str(self.path)
            ) from error
        return Kept(progress=progress, path=self.path)


def run_items(
    checklist: Checklist,
    kept: Kept,
    tools: Tools,
    person: Person,
    watcher: Watcher,
    *,
    now: Callable[[], datetime],
    only: Collection[str] = (),
) -> Progress:
    """Go through the items that are not settled, or through those that are named, settled or not; in order.

    Raises: UnsavedAnswerError.
    """
    for item in checklist.items:
        before = kept.progress.of(item)
        if item.id not in only if only else before is not None and before.status in SETTLED:
            continue
        earlier = None if only else _find_in_the_way(checklist, kept.progress, item)
        if earlier is not None:
            watcher.holds(item, earlier)
            continue
        watcher.begins(item)
        decided = _decide(item, before, tools, person)
        if decided is Agreed.RUN and isinstance(item.work, Command):
            started = Evidence(status=Status.INTERRUPTED, what="it was started, and its end was not seen")
            kept = kept.write_answer(item, started, now())
            decided = _read_result(tools.shell.stream(item.work.line))
        evidence = decided if isinstance(decided, Evidence) else None
        if evidence is not None:
            kept = kept.write_answer(item, evidence, now())
        watcher.ends(item, evidence)
    return kept.progress


def settle(
    kept: Kept, checklist: Checklist, settled: Iterable[tuple[str, Status]], *, reason: str, now: datetime
) -> Kept:
    """Write down what a person says without being asked. Raises: UnknownItemError, UnsavedAnswerError."""
    settled = tuple(settled)
    require_items(checklist, [id for id, _ in settled])
    items = {item.id: item for item in checklist.items}
    for id, status in settled:
        kept = kept.write_answer(items[id], Evidence(status=status, what=reason), now)
    return kept


def require_items(checklist: Checklist, ids: Iterable[str]) -> None:
    """Check that items are there. Raises: UnknownItemError with every one that is not."""
    known = [item.id for item in checklist.items]
    problems = [
        Problem(
            code=UnknownItemError.code,
            what=f"the checklist has no item {id!r}",
            hint=did_you_mean(id, known, otherwise="use an id of this checklist; `--json` lists them"),
        )
        for id in ids
        if id not in known
    ]
    if problems:
        raise UnknownItemError(problems)


def status_of(progress: Progress, item: Item) -> Status:
    """Return the state of an item."""
    answer = progress.of(item)
    return Status.OPEN if answer is None else answer.status


def _decide(item: Item, before: Answer | None, tools: Tools, person: Person) -> Evidence | Agreed | None:
    if isinstance(item.work, Command | Question):
        return person.answer(item, before)
    return look(item.work, tools)


def _find_in_the_way(checklist: Checklist, progress: Progress, item: Item) -> Item | None:
    """Find the first earlier item that a command has to wait for."""
    if item.kind is not ItemKind.COMMANDED:
        return None
    for earlier in checklist.items:
        if earlier is item:
            return None
        status = status_of(progress, earlier)
        is_blind = earlier.kind is ItemKind.AUTOMATIC and status is Status.UNKNOWN
        if status not in SETTLED and not is_blind:
            return earlier
    return None


def _read_result(ran: Ran) -> Evidence:
    said = " ".join(ran.out.split())[-_TOLD:]
    status = Status.DONE if ran.exit_code == 0 else Status.FAILED
    return Evidence(status=status, what=f"exit code {ran.exit_code}" + (f": {said}" if said else ""))
