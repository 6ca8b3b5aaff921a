"""The person, the server and the GPUs that a checklist needs, as the command line reaches them."""

from __future__ import annotations

import sys
from pathlib import Path

from corral.cli import terminal
from corral.cli.load_testing import run_shown, write_report
from corral.client.connection import call_server
from corral.errors import CorralError
from corral.operations.checklist.values import Agreed, Answer, Evidence, Status, UnlookedError
from corral.planning.checklist import Item, ItemKind
from corral.telemetry.loadtest.running import INTERRUPTED, LoadTest, LoadTestRequest
from corral.work import Json


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
        if self._load is None:
            _require_load()
        test = run_shown(LoadTestRequest(seconds=seconds, gpus=gpus, load=self._load), self._data_dir)
        write_report(test, test.recording.with_suffix(".md"))
        if test.ended == INTERRUPTED:
            raise KeyboardInterrupt
        return test


def _require_load() -> None:
    """Let the person put the GPUs under load. Raises: UnlookedError when there is no terminal to ask on, or not now."""
    if not terminal.is_attended():
        raise UnlookedError("nothing puts the GPUs under load", hint="add `--load COMMAND`, which is run for each GPU")
    if _read("  put the GPUs under load, then press Enter ([l]ater; `--load COMMAND` would start one for each): "):
        raise UnlookedError("the load test was put off")


def _read(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:  # Ctrl-D: the person leaves
        raise KeyboardInterrupt
    return line.strip()
