"""One base for every error that a person reads.

An error has a stable dotted `code`, a `kind` that says what the caller can do, a fact (`what`), a place (`where`) and
one imperative (`hint`). The edges map `kind` once: to exit codes (`corral.cli`), to HTTP statuses (`corral.server`), to
retry or not (`corral.tasks`).

Belongs here: the base, its kinds, the error that carries several problems, and the hint that names what was meant.
Does not belong here: errors of one package; they are next to the code that raises them.
May import: nothing of Corral.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

CLOSE = 0.6
"""How alike two words are, from 0 to 1, when one is probably meant by the other (difflib's own default)."""


class Kind(StrEnum):
    """The caller's way to deal with an error."""

    INVALID = "invalid"
    """Change what was asked."""
    MISSING = "missing"
    """Name something that exists."""
    CONFLICT = "conflict"
    """Look at the present state and decide again."""
    NO_CAPACITY = "no_capacity"
    """Wait, or add hardware."""
    UNAVAILABLE = "unavailable"
    """Try again later, or fix what is down."""
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
    retry_after_s: float | None = None
    """Seconds after which the same can be asked again; None where that is unknown."""

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


def did_you_mean(wrong: str, known: Iterable[str], *, otherwise: str | None = None) -> str:
    """Name the closest known word in a hint; where none is near say `otherwise`, else list at most twelve words."""
    words = sorted(set(known))
    if (suggestion := suggest(wrong, words)) is not None:
        return suggestion
    if otherwise is not None:
        return otherwise
    if not words:
        return "remove it: nothing of this kind is defined in the file"
    listed = ", ".join(f"`{word}`" for word in words[:12])
    return f"use one of {listed}" + (", ..." if len(words) > 12 else "")


def suggest(wrong: str, known: Iterable[str], *, cutoff: float = CLOSE) -> str | None:
    """Name the closest known word in a hint; None when none is near."""
    close = closest(wrong, known, cutoff=cutoff)
    return None if close is None else f"did you mean `{close}`?"


def closest(wrong: str, known: Iterable[str], *, cutoff: float = CLOSE) -> str | None:
    """Find the known word that is spelled most like `wrong`, capitals aside; None when none is near."""
    lower = {word.lower(): word for word in known}
    close = difflib.get_close_matches(wrong.lower()[:100], lower, n=1, cutoff=cutoff)
    return lower[close[0]] if close else None
