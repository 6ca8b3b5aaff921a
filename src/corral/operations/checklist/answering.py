"""Takes up the checklist of an upgrade: shows it, settles items that a person answered, and goes through the rest.

How items are gone through is a function of the door: at the terminal a person is asked; over HTTP there is none to ask,
so items are settled there and not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.operations.checklist.report import Standing
from corral.operations.checklist.running import Kept, require_items, settle
from corral.operations.checklist.state import OtherUpgradeError, Progress, begin, digest_of, lock_state, name_state_file
from corral.operations.checklist.values import Status
from corral.operations.upgrading import UpgradeAsked, compare_upgrade, list_items
from corral.planning.checklist import Checklist

Run = Callable[[Checklist, Kept], Progress]
"""Goes through the items that are open, and returns all answers."""


class NoReasonError(CorralError):
    """An item was skipped or called done without saying why."""

    code: ClassVar[str] = "checklist.no_reason"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecklistAsked(UpgradeAsked):
    """An upgrade whose checklist is shown, and the items that a person settles."""

    done: tuple[str, ...] = ()
    """Ids of items that are done."""
    skipped: tuple[str, ...] = ()
    """Ids of items that are not needed."""
    reason: str | None = None
    """Why; kept as evidence."""
    restart: bool = False
    """Begin anew; earlier answers are put aside."""
    carry_over: bool = False
    """After the files changed: keep the answers of items that are the same."""

    @property
    def is_reading(self) -> bool:
        """Whether it writes nothing down."""
        return not (self.done or self.skipped or self.restart)


def take_up_checklist(
    asked: ChecklistAsked,
    data_dir: Path,
    *,
    run: Run | None = None,
    only: Iterable[str] = (),
    note: Callable[[str], None] = lambda _: None,
) -> Standing:
    """Show a checklist with its answers, after what is asked was settled and `run` went through the rest.

    `only` are further items that have to be there; `note` gets what people should know.

    Raises: NoReasonError, UnknownItemError, OtherUpgradeError, DamagedChecklistError, BusyChecklistError,
    UnreachableAnswersError, and what `compare_upgrade` raises.
    """
    require_reason(asked)
    checklist = list_items(compare_upgrade(asked))
    require_items(checklist, [*only, *asked.done, *asked.skipped])
    path = name_state_file(data_dir, checklist)
    is_reading = asked.is_reading and run is None
    with nullcontext() if is_reading else lock_state(path):
        progress = _load_answers(asked, checklist, path, is_reading=is_reading, note=note)
        if is_reading:
            return Standing(checklist=checklist, progress=progress)
        settled = [*((id, Status.DONE) for id in asked.done), *((id, Status.SKIPPED) for id in asked.skipped)]
        kept = Kept(progress=progress, path=path)
        kept = settle(kept, checklist, settled, reason=asked.reason or "", now=datetime.now(UTC))
        return Standing(checklist=checklist, progress=kept.progress if run is None else run(checklist, kept))


def require_reason(asked: ChecklistAsked) -> None:
    """Check that what is settled has a reason. Raises: NoReasonError."""
    if (asked.done or asked.skipped) and not asked.reason:
        raise NoReasonError("`--done` and `--skip` need a reason", hint='add `--reason "..."`; it is kept as evidence')


def _load_answers(
    asked: ChecklistAsked, checklist: Checklist, path: Path, *, is_reading: bool, note: Callable[[str], None]
) -> Progress:
    now = datetime.now(UTC)
    try:
        return begin(path, checklist, now=now, restarting=asked.restart, carrying=asked.carry_over)
    except OtherUpgradeError as error:
        if not is_reading:
            raise
        note(f"not shown: {error.what}")
        return Progress(digest=digest_of(checklist), started_at=now)
