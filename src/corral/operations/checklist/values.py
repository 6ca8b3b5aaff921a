"""Answers to the items of a checklist, and what asking for them needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import ClassVar, Protocol

from corral import kubernetes
from corral.errors import CorralError, Kind
from corral.kubernetes import Ran
from corral.planning.checklist import Item
from corral.telemetry.loadtest.running import LoadTest
from corral.work import Json


class Status(StrEnum):
    """The state of an item."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It could not be looked at; that says neither well nor ill."""
    INTERRUPTED = "interrupted"
    """A command was started and its end was never seen: whether it ran is unknown."""
    SKIPPED = "skipped"
    """A person decided that it is not needed, with a reason."""


SETTLED = frozenset({Status.DONE, Status.SKIPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How an item was answered."""

    status: Status
    at: datetime
    evidence: str
    """The observation, the command's output, or the person's words."""
    fingerprint: str
    """Of the item as it was when it was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The evidence of a look, a command or a person."""

    status: Status
    what: str


class UnlookedError(CorralError):
    """Something could not be looked at; `what` is the reason."""

    code: ClassVar[str] = "checklist.unlooked"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class Shell(kubernetes.Shell, Protocol):
    """Runs programs and shell lines."""

    def stream(self, line: str) -> Ran:
        """Run a shell line with what it prints shown as it comes and its input from the terminal."""
        ...


class Queue(Protocol):
    """Asks Corral's server."""

    def get(self, path: str) -> Json:
        """Return the server's answer. Raises: UnlookedError when no server answers."""
        ...


class LoadTester(Protocol):
    """Tests GPUs of this machine under load."""

    def test(self, gpus: tuple[int, ...], seconds: float) -> LoadTest:
        """Run a test. Raises: CorralError when the GPUs cannot be watched."""
        ...


class Agreed(Enum):
    """The person agreed to the command of an item."""

    RUN = "run"


class Person(Protocol):
    """Answers the questions that no machine can."""

    def answer(self, item: Item, before: Answer | None) -> Evidence | Agreed | None:
        """Answer an item, or agree to its command; None leaves it open, also when no person is present.

        `before` is the answer of an earlier run.
        """
        ...
