"""Tables and sentences in the width that there is.

A row is one line where the width is not known (files, `grep`, `awk`). On a terminal that is too narrow, long cells
continue below; where even that is not enough, columns that the table can spare are left out, and only then does each
row become a list of its fields, as `psql` does with `\\x auto`. Names and commands stay whole, so that they can be
copied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap

_COLUMN_GAP = "  "
_LEAST_COLUMN = 8  # a narrower one splits even `240 images/h` over more than two lines
_MOST_LINES = 4  # about so many for a cell; more are a tower of words
_LEAST_TEXT = 20  # next to a name; on a terminal that is narrower still, lines run over its edge
_CODE = re.compile(r"`[^`]*`")
_HELD = "\u00a0"
"""`textwrap` breaks at spaces of ASCII alone."""


def align(rows: Sequence[Sequence[str]], *, width: int | None = None) -> list[str]:
    """Make lines of rows with aligned columns, the first row being their names.

    `width` in characters; None gives each row one line, however long that is.
    """
    widths = _measure(rows)
    if width is None or _sum_widths(widths) <= width:
        return [_join_cells(row, widths) for row in rows]
    narrower = _narrow(rows, widths, width)
    if narrower is None:
        return list(_as_fields(rows, width))
    return [line for row in rows for line in _fold(row, narrower)]


def drop_columns(
    rows: Sequence[Sequence[str]], expendable: Sequence[str], *, width: int | None = None
) -> tuple[list[list[str]], tuple[str, ...]]:
    """Leave out columns until the table fits the width; return what is left, and the names of what is left out.

    `expendable` has the names of the columns that can go, the first one first. A column without a value goes anyway.
    """
    names = rows[0]
    spare = [name for name in expendable if name in names]
    empty = [name for name in spare if not any(row[names.index(name)].strip("-") for row in rows[1:])]
    whole = _without(rows, empty)
    if width is None:
        return whole, ()
    # Whole lines are easiest to read, so as many columns go as that takes; where it takes more than all of them, only
    # as many go as keep rows from becoming lists.
    for fits in (_fits, _can_fold):
        kept, dropped = whole, list[str]()
        for name in (name for name in spare if name not in empty):
            if fits(kept, width):
                break
            kept = _without(kept, [name])
            dropped.append(name)
        if fits(kept, width):
            return kept, tuple(dropped)
    return whole, ()


def align_fields(pairs: Sequence[tuple[str, str]], *, width: int | None = None) -> list[str]:
    """Make lines of names and values, the values under each other."""
    name_width = max((len(name) for name, _ in pairs), default=0)
    indent = " " * (name_width + len(_COLUMN_GAP))
    return [
        line
        for name, value in pairs
        for line in wrap_sentence(f"{name.ljust(name_width)}{_COLUMN_GAP}", value, indent, width=width)
    ]


def wrap_sentence(start: str, text: str, indent: str, *, width: int | None = None) -> list[str]:
    """Make lines of a text after `start`, those that follow behind `indent`; one line where no width is given."""
    if width is None or len(start) + len(text) <= width:
        return [start + text]
    lines = _wrap(text, max(width - len(indent), _LEAST_TEXT))
    return [f"{indent if index else start}{line}" for index, line in enumerate(lines)]


def _without(rows: Sequence[Sequence[str]], names: Sequence[str]) -> list[list[str]]:
    kept = [index for index, name in enumerate(rows[0]) if name not in names]
    return [[row[index] for index in kept] for row in rows]


def _fits(rows: Sequence[Sequence[str]], width: int) -> bool:
    return _sum_widths(_measure(rows)) <= width


def _can_fold(rows: Sequence[Sequence[str]], width: int) -> bool:
    return _narrow(rows, _measure(rows), width) is not None


def _measure(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]


def _sum_widths(widths: Sequence[int]) -> int:
    return sum(widths) + len(_COLUMN_GAP) * (len(widths) - 1)


def _join_cells(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _COLUMN_GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _narrow(rows: Sequence[Sequence[str]], widths: Sequence[int], width: int) -> list[int] | None:
    """Take from the widest column until the table fits; None when its words are too long for that."""
    least = [
        _find_least_width(column, natural) for column, natural in zip(zip(*rows, strict=True), widths, strict=True)
    ]
    if _sum_widths(least) > width:
        return None
    narrower = list(widths)
    while _sum_widths(narrower) > width:
        narrower[
            max((index for index in range(len(narrower)) if narrower[index] > least[index]), key=narrower.__getitem__)
        ] -= 1
    return narrower


def _find_least_width(cells: Sequence[str], natural: int) -> int:
    longest_word = max((len(word) for cell in cells for word in _hold_code_together(cell).split(" ")), default=0)
    return max(longest_word, min(natural, _LEAST_COLUMN), natural // _MOST_LINES)


def _fold(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    columns = [_wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for line in zip_longest(*columns, fillvalue=""):
        yield _join_cells(line, widths)


def _as_fields(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    names, *records = rows
    for index, record in enumerate(records):
        if index:
            yield ""
        yield from align_fields(list(zip(names, record, strict=True)), width=width)


def _wrap(text: str, width: int) -> list[str]:
    lines = wrap(_hold_code_together(text), width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_HELD, " ") for line in lines] or [""]


def _hold_code_together(text: str) -> str:
    """Keep text between backticks together."""
    return _CODE.sub(lambda narrower: narrower[0].replace(" ", _HELD), text)
