"""One base for every error that a person reads.

An error has a stable dotted `code`, a `kind` that says what the caller can do, a fact (`what`), a place (`where`) and
one imperative (`hint`). The edges map `kind` once: to exit codes (`corral.cli`), to HTTP statuses (`corral.server`), to
retry or not (`corral.tasks`).

Belongs here: the base, its kinds, and the error that carries several problems.
Does not belong here: errors of one package; they stand beside the code that raises them.
May import: nothing of Corral.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Kind(StrEnum):
    """What a caller can do about an error."""

    INVALID = "invalid"
    """Change what was asked."""
    MISSING = "missing"
    """Name something that exists."""
    CONFLICT = "conflict"
    """Look at the present state and decide again."""
    NO_CAPACITY = "no_capacity"
    """Wait, or add hardware."""
    UNAVAILABLE = "unavailable"
    """Try again later, or mend what is down."""
    DENIED = "denied"
    """Use other credentials."""
    BUG = "bug"
    """Report it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, as a value: `what` is a fact, lower case, without a final period."""

    code: str
    what: str
    where: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        """Render as `error[code]: what`, then `at:` and `hint:` lines where known."""
        lines = [f"error[{self.code}]: {self.what}"]
        if self.where:
            lines.append(f"  at: {self.where}")
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class CorralError(Exception):
    """Base of all errors that Corral raises on purpose.

    Subclasses set `code` and `kind`; `what` never carries a secret.
    """

    code: ClassVar[str] = "corral.error"
    kind: ClassVar[Kind] = Kind.BUG

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every problem that this error reports; one, unless it is a `ProblemsError`."""
        return (Problem(code=self.code, what=self.what, where=self.where, hint=self.hint),)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class ProblemsError(CorralError):
    """Several problems found in one input; all of them are reported at once."""

    code = "input.invalid"
    kind = Kind.INVALID

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            raise ValueError("a ProblemsError needs at least one problem")
        first = problems[0]
        super().__init__(first.what, where=first.where, hint=first.hint)
        self._problems = tuple(problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self._problems
