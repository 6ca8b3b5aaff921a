"""A checklist of a few items, a person who answers from a script, and what stands where no server and no card is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from corral.operations.checklist.looking import Tools
from corral.operations.checklist.machines import LocalShell, Machines
from corral.operations.checklist.running import Kept, run_items
from corral.operations.checklist.state import Progress, begin, name_state_file
from corral.operations.checklist.values import Agreed, Answer, Evidence, Status, UnlookedError
from corral.planning.checklist import Checklist, Item, Phase
from corral.telemetry.loadtest.running import LoadTest

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def an_item(id: str, work: Any) -> Item:
    return Item(id=id, phase=Phase.HARDWARE, title=id, why="it matters", work=work)


def a_checklist(*items: Item) -> Checklist:
    return Checklist(cluster="test", items=items)


class ScriptedPerson:
    """Stands for a person: answers by item, and is away for the others; remembers what was asked."""

    def __init__(self, answers: Mapping[str, Evidence | Agreed] | None = None) -> None:
        self._answers = answers or {}
        self.asked: list[tuple[str, Status | None]] = []

    def answer(self, item: Item, before: Answer | None) -> Evidence | Agreed | None:
        self.asked.append((item.id, before.status if before else None))
        return self._answers.get(item.id)


class Log:
    """Stands for the terminal: remembers what it was told."""

    def __init__(self) -> None:
        self.held: list[tuple[str, str]] = []

    def begins(self, item: Item) -> None: ...

    def ends(self, item: Item, evidence: Evidence | None) -> None: ...

    def holds(self, item: Item, earlier: Item) -> None:
        self.held.append((item.id, earlier.id))


class NoServer:
    """Stands for a Corral server that does not run, as the command line's does."""

    def get(self, path: str) -> Any:
        raise UnlookedError("no server runs for this data directory")


class NoLoadTests:
    """Stands where no load test may begin."""

    def test(self, gpus: tuple[int, ...], seconds: float) -> LoadTest:
        raise AssertionError("a load test began")


def run_checklist(
    checklist: Checklist, folder: Path, person: ScriptedPerson, *, log: Log | None = None, only: tuple[str, ...] = ()
) -> Progress:
    path = name_state_file(folder, checklist)
    kept = Kept(progress=begin(path, checklist, now=AT, restarting=False, carrying=False), path=path)
    shell = LocalShell()
    tools = Tools(
        machines=Machines([], shell), shell=shell, queue=NoServer(), load_tester=NoLoadTests(), rendered=Path()
    )
    return run_items(checklist, kept, tools, person, log or Log(), now=lambda: AT, only=only)
