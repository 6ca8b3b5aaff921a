"""Output: data to stdout, everything else to stderr.

Tables are plain aligned text: quick to start, and good for `grep`, `awk` and screen readers; on a terminal they
and long sentences keep to its width. What moves (bars) is in `corral.cli.running.view` and `corral.cli.pulling`, and
appears on a terminal only.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import ClassVar

from corral.cli.tables import align, align_fields, drop_columns, wrap_sentence
from corral.errors import CorralError, Kind, Problem
from corral.printable import make_printable, make_printable_json
from corral.work import Json

_LONGEST_CELL = 60


class UnconfirmedError(CorralError):
    """A step that cannot be undone was not agreed to."""

    code: ClassVar[str] = "cli.unconfirmed"
    kind: ClassVar[Kind] = Kind.INVALID


def put(text: str) -> None:
    """Print data; what would steer a terminal is spelled out, as everything that is printed here can be a user's."""
    sys.stdout.write(f"{make_printable(text)}\n")


def put_text(text: str, *, indent: str = "") -> None:
    """Print a sentence of data behind an indent, over several lines where the terminal is narrower than it."""
    for line in wrap_sentence(indent, text, f"{indent}  ", width=count_columns()):
        put(line)


def put_json(value: Json) -> None:
    """Print data as JSON, for programs."""
    put(make_printable_json(json.dumps(value, indent=2, ensure_ascii=False)))


def note(text: str) -> None:
    """Print something that is not data, to stderr; as `put`."""
    sys.stderr.write(f"{make_printable(text)}\n")
    sys.stderr.flush()


def note_more(text: str) -> None:
    """Print to a terminal what `-v` would add; programs and pipes have no use for it."""
    if count_columns() is not None:
        note(text)


def put_table(
    names: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    empty: str,
    expendable: Sequence[str] = (),
    most: int | None = None,
) -> None:
    """Print rows under their columns, long cells cut except in the last column; note `empty` when there are none.

    `expendable` names the columns that a narrow terminal can do without, the first one first. Of more than `most` rows
    the first are printed, and how many more there are.
    """
    cells = [[*(_cut(_format_cell(value)) for value in row[:-1]), _format_cell(row[-1])] for row in rows]
    if not cells:
        note(empty)
        return
    put_rows([list(names), *cells[:most]], expendable=expendable)
    if most is not None and len(cells) > most:
        put(f"... and {len(cells) - most} more: -v")


def put_rows(rows: Sequence[Sequence[str]], *, expendable: Sequence[str] = ()) -> None:
    """Print rows of whole cells; the first row names the columns, of which `expendable` ones can be left out."""
    width = count_columns()
    kept, dropped = drop_columns(rows, expendable, width=width)
    for line in align(kept, width=width):
        put(line)
    if dropped:
        put_text(f"(left out on this narrow terminal: {', '.join(dropped)})")


def put_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print the fields of one thing, one on each line; those without a value are left out."""
    shown = [(name, str(value)) for name, value in pairs if value not in (None, "", [], {})]
    for line in align_fields(shown, width=count_columns()):
        put(line)


def confirm(question: str, *, agreed: bool) -> None:
    """Ask once before a step that cannot be undone; `agreed` is `--yes`.

    Raises: UnconfirmedError when the answer is no, or when there is no terminal to ask on.
    """
    if agreed:
        return
    if not is_attended():
        raise UnconfirmedError(f"{question} there is no terminal to ask on", hint="add `--yes` if that is meant")
    if ask(f"{question} [y/N]").lower() not in ("y", "yes"):
        raise UnconfirmedError("the answer was no; nothing was changed")


def ask(question: str) -> str:
    """Ask for a line and return it without the spaces around it; empty at the end of the input."""
    sys.stderr.write(f"{make_printable(question)} ")
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def format_count(count: int, noun: str) -> str:
    """Write a count with its noun: `1 task`, `12 tasks`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def is_attended() -> bool:
    """Whether a person can read the output and answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def report(error: CorralError, *, as_json: bool) -> None:
    """Print every problem of an error to stderr."""
    if as_json:
        note(make_printable_json(json.dumps({"error": error_json(error)}, indent=2, ensure_ascii=False)))
    else:
        note(str(error))


def error_json(error: CorralError) -> Json:
    """Return an error in the shape that the HTTP API has, without its request id."""
    return {
        "code": error.code,
        "kind": error.kind.value,
        "what": error.what,
        "where": error.where,
        "hint": error.hint,
        "problems": [problem_json(problem) for problem in error.problems],
    }


def problem_json(problem: Problem) -> Json:
    """Return one problem in the shape that the HTTP API has."""
    return {"code": problem.code, "what": problem.what, "where": problem.where, "hint": problem.hint}


def _format_cell(value: object) -> str:
    text = "-" if value in (None, "", [], ()) else str(value)
    return " ".join(text.split())


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"


def count_columns() -> int | None:
    """Count the columns of the terminal; None where a file or a program reads, which gets a row on each line."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def count_error_columns() -> int:
    """Count the columns of the terminal that reads standard error; 80 where none does."""
    return os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr.isatty() else 80
