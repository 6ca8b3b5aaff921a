"""A checklist at the terminal: printed, walked through with the person, the server and the GPUs, and written down."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from corral.cli import terminal
from corral.cli.load_testing import ReportUnwritableError, choose_load, require_folder, run_shown, write_report
from corral.client.connection import call_server
from corral.data_dir import prepare_data_dir
from corral.errors import CorralError
from corral.files import write_whole
from corral.operations.checklist.answering import ChecklistAsked, require_reason, take_up_checklist
from corral.operations.checklist.looking import Tools
from corral.operations.checklist.machines import LocalShell, Machines
from corral.operations.checklist.report import Standing, answer_checklist, draw_chart, write_markdown
from corral.operations.checklist.running import Kept, run_items, status_of
from corral.operations.checklist.state import Progress
from corral.operations.checklist.values import SETTLED, Agreed, Answer, Evidence, Status, UnlookedError
from corral.operations.load_testing import NoLoadError
from corral.planning.checklist import Checklist, Item, ItemKind
from corral.telemetry.loadtest.running import INTERRUPTED, LoadTest, LoadTestRequest
from corral.wire import to_json
from corral.work import Json

_MOST_ITEMS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecklistRequest:
    """The requests of the command line."""

    asked: ChecklistAsked
    running: bool
    only: tuple[str, ...]
    load: str | None
    report: Path | None
    url: str | None
    data_dir: Path
    agreed: bool
    dry: bool
    verbose: bool
    as_json: bool


def run_checklist(request: ChecklistRequest) -> Standing:
    """Do what is asked and print the state of the checklist.

    Raises: ReportUnwritableError, and what `take_up_checklist` and reading the files raise.
    """
    asked = request.asked
    require_reason(asked)
    require_folder(request.report)
    if not request.dry and (request.running or not asked.is_reading):
        prepare_data_dir(request.data_dir)
    standing = take_up_checklist(
        replace(asked, done=(), skipped=(), restart=False) if request.dry else asked,
        request.data_dir,
        run=partial(_run_items, request) if request.running else None,
        only=(*request.only, *asked.done, *asked.skipped),
        note=terminal.note,
    )
    if request.report is not None:
        terminal.note(f"report: {', '.join(str(file) for file in _write_report(standing, request.report))}")
    if request.dry:
        _put_dry(standing, request)
    elif request.as_json:
        terminal.put_json(to_json(answer_checklist(standing)))
    else:
        _put(standing, verbose=request.verbose)
    return standing


def _run_items(request: ChecklistRequest, checklist: Checklist, kept: Kept) -> Progress:
    agreed = request.agreed
    person = TerminalPerson(agreed=agreed) if terminal.is_attended() else AbsentPerson(agreed=agreed)
    tools = _make_tools(request, checklist)
    return run_items(checklist, kept, tools, person, Teller(), now=lambda: datetime.now(UTC), only=request.only)


def _make_tools(asked: ChecklistRequest, checklist: Checklist) -> Tools:
    shell = LocalShell()
    return Tools(
        machines=Machines(checklist.addresses, shell),
        shell=shell,
        queue=ServerQueue(asked.url, asked.data_dir),
        load_tester=LoadTests(asked.data_dir, asked.load),
        rendered=Path(),
    )


def _put(standing: Standing, *, verbose: bool) -> None:
    """Print what is settled and what comes next, then the items that are left; with `verbose`, all items at length."""
    if not standing.checklist.items:
        terminal.put("nothing has to be done: the two cluster files describe the same machines and services")
        return
    following = f"; next: {standing.left[0].title}" if standing.left else ""
    terminal.put_text(f"{standing.summary}{following}")
    if verbose:
        _put_phases(standing)
        return
    if standing.left:
        terminal.put("")
        rows = [
            (item.phase.value, status_of(standing.progress, item).value, item.kind.value, item.title)
            for item in standing.left
        ]
        columns = ("phase", "state", "kind", "item")
        terminal.put_table(columns, rows, empty="", expendable=("state", "phase"), most=_MOST_ITEMS)
    terminal.note_more("-v adds each item's name, task and answer; --run walks you through them")


def _put_phases(standing: Standing) -> None:
    for phase in standing.checklist.phases:
        terminal.put(f"\n{phase.value.capitalize()} phase")
        for item in standing.checklist.of(phase):
            for line in _format_item(standing, item):
                terminal.put(line)


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
    """Write Markdown to `target`, JSON and the chart next to it. Raises: ReportUnwritableError."""
    chart, record = target.with_name(f"{target.stem}-phases.svg"), target.with_suffix(".json")
    texts = {
        chart: draw_chart(standing),
        record: json.dumps(to_json(answer_checklist(standing)), indent=2, ensure_ascii=False) + "\n",
        target: write_markdown(standing, chart=chart.name),  # last: a report named *.json is Markdown after all
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


class TerminalPerson:
    """The person at the terminal."""

    def __init__(self, *, agreed: bool) -> None:
        self._agreed = agreed

    def answer(self, item: Item, before: Answer | None) -> Evidence | Agreed | None:
        """Ask; an empty answer leaves the item open, and `s` skips it with a reason."""
        if item.material:
            terminal.note("\n".join(f"    {line}" for line in item.material.splitlines()))
        is_command = item.kind is ItemKind.COMMANDED
        terminal.note(f"  {'$ ' if is_command else ''}{item.task}")
        was_interrupted = before is not None and before.status is Status.INTERRUPTED
        if was_interrupted:
            terminal.note("  this command was started before; whether it ran is unknown")
        if is_command and self._agreed and not was_interrupted:
            return Agreed.RUN
        return self._ask(is_command=is_command)

    def _ask(self, *, is_command: bool) -> Evidence | Agreed | None:
        words = "run it? [y]es, [d]one already, [s]kip" if is_command else "[y]es, [n]o, [s]kip"
        match _read(f"  {words}, Enter for later: ").lower()[:1]:
            case "y" if is_command:
                return Agreed.RUN
            case "y" | "d":
                note = _read("  a note for the report (Enter for none): ")
                return Evidence(status=Status.DONE, what=f"a person confirmed it{f': {note}' if note else ''}")
            case "n" if not is_command:
                note = _read("  what is wrong: ")
                return Evidence(status=Status.FAILED, what=f"a person denied it{f': {note}' if note else ''}")
            case "s":
                return Evidence(status=Status.SKIPPED, what=_read("  why is it not needed: ") or "no reason was given")
            case _:
                return None


class AbsentPerson:
    """An unattended terminal: prints what would be asked, and leaves it open."""

    def __init__(self, *, agreed: bool) -> None:
        self._agreed = agreed

    def answer(self, item: Item, before: Answer | None) -> Evidence | Agreed | None:
        """Agree to commands when `--yes` was given, except to one whose first start has an unknown end."""
        was_interrupted = before is not None and before.status is Status.INTERRUPTED
        if item.kind is ItemKind.COMMANDED and self._agreed and not was_interrupted:
            terminal.note(f"  $ {item.task}")
            return Agreed.RUN
        unknown = " (started before; whether it ran is unknown)" if was_interrupted else ""
        terminal.note(f"  would ask: {item.task}{unknown}")
        terminal.note(f'  no terminal to ask on; answer with `--done {item.id} --reason "..."`')
        return None


class Teller:
    """The progress of a run, on stderr."""

    def begins(self, item: Item) -> None:
        """Name the item, and why it matters."""
        terminal.note(f"{item.phase.value}: {item.title}")
        terminal.note(f"  why: {item.why}")

    def ends(self, item: Item, evidence: Evidence | None) -> None:
        """Say what came of it."""
        terminal.note("  left open" if evidence is None else f"  {evidence.status.value}: {evidence.what}")

    def holds(self, item: Item, earlier: Item) -> None:
        """Say what a command waits for."""
        terminal.note(
            f"{item.phase.value}: {item.title}\n  held back until {earlier.id} is settled; `--item` overrides"
        )


class ServerQueue:
    """Corral's server, as other commands find it."""

    def __init__(self, url: str | None, data_dir: Path) -> None:
        self._url = url
        self._data_dir = data_dir

    def get(self, path: str) -> Json:
        """Return the server's answer. Raises: UnlookedError when no server answers."""
        try:
            return call_server(self._url, self._data_dir, lambda api: api.get(path))
        except CorralError as error:
            raise UnlookedError(error.what, where=error.where, hint=error.hint) from error


class LoadTests:
    """Load tests of this machine's GPUs, with a report next to each recording."""

    def __init__(self, data_dir: Path, load: str | None) -> None:
        self._data_dir = data_dir
        self._load = load

    def test(self, gpus: tuple[int, ...], seconds: float) -> LoadTest:
        """Watch the GPUs. Raises: UnlookedError when nothing loads them, NoGpusError, NoSuchGpuError."""
        load = self._load or self._choose_load(gpus)
        if load is None:
            _require_load()
        test = run_shown(LoadTestRequest(seconds=seconds, gpus=gpus, load=load), self._data_dir)
        write_report(test, test.recording.with_suffix(".md"))
        if test.ended == INTERRUPTED:
            raise KeyboardInterrupt
        return test

    def _choose_load(self, gpus: tuple[int, ...]) -> str | None:
        """Choose the built-in load; None where no model for it is here."""
        try:
            return choose_load(self._data_dir, gpus)
        except NoLoadError:
            return None


def _require_load() -> None:
    """Let the person put the GPUs under load. Raises: UnlookedError when there is no terminal to ask on, or not now."""
    if not terminal.is_attended():
        raise UnlookedError("nothing puts the GPUs under load", hint="pull a model for it, or add `--load COMMAND`")
    if _read("  put the GPUs under load, then press Enter ([l]ater; `--load COMMAND` would start one for each): "):
        raise UnlookedError("the load test was put off")


def _read(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:  # Ctrl-D: the person leaves
        raise KeyboardInterrupt
    return line.strip()
