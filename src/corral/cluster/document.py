"""A file's values, the place of each in the text, and what is wrong with them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from corral.errors import Problem, ProblemsError

YamlPath = tuple[str | int, ...]
"""Keys and list indexes from the top of the file."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the text; both count from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Document:
    """The values of a file, their places, and what is wrong with it as YAML."""

    filename: str
    """Empty where the values came without a text; problems then have their paths alone."""
    value: Any = None  # plain YAML: dict, list, str, int, float, bool or None
    problems: dict[tuple[Position, Problem], None] = field(default_factory=dict[tuple[Position, Problem], None])
    """Each once, in the order in which they were found."""
    keys: dict[YamlPath, Position] = field(default_factory=dict[YamlPath, Position])
    values: dict[YamlPath, Position] = field(default_factory=dict[YamlPath, Position])
    stand_ins: set[str] = field(default_factory=set[str])
    """Texts that took the place of misshapen values; no problem is reported about them."""
    unusable: set[YamlPath] = field(default_factory=set[YamlPath])
    """Places of numbers that cannot be used; each has its problem, and what took the number's place is not checked."""

    def report(self, code: str, what: str, *, at: YamlPath, hint: str | None = None) -> None:
        """Add a problem about the value at `at`."""
        if at in self.unusable:
            return
        self.report_at(code, what, position=self._find_position(self.values, at), at=at, hint=hint)

    def report_key(self, code: str, what: str, *, at: YamlPath, hint: str | None = None) -> None:
        """Add a problem about the key that `at` ends with."""
        self.report_at(code, what, position=self._find_position(self.keys, at), at=at, hint=hint)

    def report_at(
        self, code: str, what: str, *, position: Position, at: YamlPath = (), hint: str | None = None
    ) -> None:
        """Add a problem at a position of the text."""
        place = f"{self.filename}:{position.line}:{position.column} " if self.filename else ""
        where = f"{place}{spell(at)}".rstrip()
        self.problems[position, Problem(code=code, what=what, where=where, hint=hint)] = None

    def sort_problems(self) -> tuple[Problem, ...]:
        """List the problems in the order of the file, each once."""
        ordered = sorted(self.problems, key=lambda problem: (problem[0].line, problem[0].column))
        return tuple(dict.fromkeys(problem for _, problem in ordered))

    def _find_position(self, positions: dict[YamlPath, Position], at: YamlPath) -> Position:
        """Find the position of a path; of its nearest known parent where the path itself is not in the file."""
        for length in range(len(at), -1, -1):
            position = positions.get(at[:length]) or self.values.get(at[:length])
            if position is not None:
                return position
        return Position(1, 1)


def locate(text: str, offset: int) -> Position:
    """Find the line and the column of an offset."""
    before = text[:offset]
    return Position(before.count("\n") + 1, len(before) - before.rfind("\n"))


def show_key(text: str) -> str:
    """Show a key in a message: at most 60 characters, on one line, whatever it holds."""
    return repr(text[:60])[1:-1]


def spell(path: YamlPath) -> str:
    """Write a path as people do: `nodes[0].labels["hydra.io/vram-total"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{show_key(part)}"]'
    return text


class ClusterFileError(ProblemsError):
    """A cluster file that cannot be used; `problems` has every reason, in the order of the file."""

    code: ClassVar[str] = "cluster.invalid"
