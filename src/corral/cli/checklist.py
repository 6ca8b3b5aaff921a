"""Joins a checklist with the terminal: shows it, goes through it, and writes its report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from corral.cli import terminal
from corral.cli.checklist_terminal import AbsentPerson, LoadTests, ServerQueue, Teller, TerminalPerson
from corral.cli.load_testing import ReportUnwritableError, require_folder
from corral.data_dir import prepare_data_dir
from corral.errors import CorralError, Kind
from corral.files import write_whole
from corral.operations.checklist.looking import Tools
from corral.operations.checklist.machines import Machines
from corral.operations.checklist.report import Standing, standing_chart, standing_json, standing_markdown
from corral.operations.checklist.running import Kept, require_items, run_items, settle, status_of
from corral.operations.checklist.shell import LocalShell
from corral.operations.checklist.state import OtherUpgradeError, Progress, begin, digest_of, locked, state_path
from corral.operations.checklist.values import SETTLED, Status
from corral.operations.upgrading import Wish, checklist_for, upgrade_file
from corral.planning.checklist import Checklist, Item, ItemKind
from corral.work import Json


class NoReasonError(CorralError):
    """An item was skipped or called done without saying why."""

    code: ClassVar[str] = "checklist.no_reason"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecklistRequest:
    """What the command line asks for."""

    cluster: Path | None
    wish: Wish
    running: bool
    only: tuple[str, ...]
    done: tuple[str, ...]
    skipped: tuple[str, ...]
    reason: str | None
    restarting: bool
    carrying: bool
    load: str | None
    report: Path | None
    url: str | None
    data_dir: Path
    agreed: bool
    dry: bool
    as_json: bool

    @property
    def is_reading(self) -> bool:
        """Whether nothing is to be written down."""
        return self.dry or not (self.running or self.done or self.skipped or self.restarting)


def run_checklist(asked: ChecklistRequest) -> Standing:
    """Do what is asked and print how the checklist stands.

    Raises: NoReasonError, ReportUnwritableError, UnknownItemError, OtherUpgradeError, DamagedChecklistError,
    BusyChecklistError, UnreachableAnswersError, and what reading the files raises.
    """
    if (asked.done or asked.skipped) and not asked.reason:
        raise NoReasonError("`--done` and `--skip` need a reason", hint='add `--reason "..."`; it is kept as evidence')
    require_folder(asked.report)
    done = upgrade_file(asked.cluster, asked.wish)
    checklist = checklist_for(done)
    require_items(checklist, [*asked.only, *asked.done, *asked.skipped])
    path = state_path(asked.data_dir, checklist)
    if not asked.is_reading:
        prepare_data_dir(asked.data_dir)
    with nullcontext() if asked.is_reading else locked(path):
        standing = _go_through(asked, checklist, path)
    if asked.report is not None:
        terminal.note(f"report: {', '.join(str(file) for file in _write_report(standing, asked.report))}")
    if asked.dry:
        _put_dry(standing, asked)
    elif asked.as_json:
        terminal.put_json(standing_json(standing))
    else:
        _put(standing)
    return standing


def _go_through(asked: ChecklistRequest, checklist: Checklist, path: Path) -> Standing:
    now = datetime.now(UTC)
    restarting = asked.restarting and not asked.is_reading
    try:
        progress = begin(path, checklist, now=now, restarting=restarting, carrying=asked.carrying)
    except OtherUpgradeError as error:
        if not asked.is_reading:
            raise
        terminal.note(f"not shown: {error.what}")
        progress = Progress(digest=digest_of(checklist), started_at=now)
    if asked.is_reading:
        return Standing(checklist=checklist, progress=progress)
    answers = [*((id, Status.DONE) for id in asked.done), *((id, Status.SKIPPED) for id in asked.skipped)]
    kept = settle(Kept(progress=progress, path=path), checklist, answers, reason=asked.reason or "", now=now)
    if not asked.running:
        return Standing(checklist=checklist, progress=kept.progress)
    person = TerminalPerson(agreed=asked.agreed) if terminal.is_attended() else AbsentPerson(agreed=asked.agreed)
    progress = run_items(
        checklist, kept, _make_tools(asked, checklist), person, Teller(), now=lambda: datetime.now(UTC), only=asked.only
    )
    return Standing(checklist=checklist, progress=progress)


def _make_tools(asked: ChecklistRequest, checklist: Checklist) -> Tools:
    shell = LocalShell()
    return Tools(
        machines=Machines(checklist.addresses, shell),
        shell=shell,
        queue=ServerQueue(asked.url, asked.data_dir),
        load_tester=LoadTests(asked.data_dir, asked.load),
    )


def _put(standing: Standing) -> None:
    for phase in standing.checklist.phases:
        terminal.put(f"{phase.value.capitalize()} phase")
        for item in standing.checklist.of(phase):
            for line in _format_item(standing, item):
                terminal.put(line)
        terminal.put("")
    if not standing.checklist.items:
        terminal.note("nothing has to be done: the two cluster files describe the same machines and services")
        return
    terminal.put(standing.summary)


def _format_item(standing: Standing, item: Item) -> Iterator[str]:
    answer = standing.progress.of(item)
    yield f"  {status_of(standing.progress, item).value:<11}  {item.title}"
    yield f"               {item.id}  ({item.kind.value})"
    yield f"               {'$ ' if item.kind is ItemKind.COMMANDED else ''}{item.task}"
    if answer is not None:
        yield f"               {answer.at:%Y-%m-%d %H:%M}: {answer.evidence}"


def _put_dry(standing: Standing, asked: ChecklistRequest) -> None:
    """Say what a run would do with each item, and do none of it."""
    words = {ItemKind.AUTOMATIC: "would look", ItemKind.COMMANDED: "would run", ItemKind.BY_HAND: "would ask"}
    items = [
        item
        for item in standing.checklist.items
        if (item.id in asked.only if asked.only else status_of(standing.progress, item) not in SETTLED)
    ]
    if asked.as_json:
        rows: Json = [{"id": item.id, "would": words[item.kind], "task": item.task} for item in items]
        terminal.put_json({"items": rows})
    else:
        terminal.put_table(
            ("item", "", "what"), [(item.id, words[item.kind], item.task) for item in items], empty="nothing is left"
        )
    terminal.note("nothing was looked at, run or written down")


def _write_report(standing: Standing, target: Path) -> tuple[Path, ...]:
    """Write Markdown to `target`, JSON and the chart beside it. Raises: ReportUnwritableError."""
    chart, record = target.with_name(f"{target.stem}-phases.svg"), target.with_suffix(".json")
    texts = {
        chart: standing_chart(standing),
        record: json.dumps(standing_json(standing), indent=2, ensure_ascii=False) + "\n",
        target: standing_markdown(standing, chart=chart.name),  # last: a report named *.json is Markdown after all
    }
    try:
        for path, text in texts.items():
            write_whole(path, text)
    except OSError as error:
        raise ReportUnwritableError(
            f"cannot write the report: {error.strerror or error}",
            where=str(target),
            hint="name a file in a folder that exists",
        ) from error
    return tuple(texts)
