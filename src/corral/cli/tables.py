"""Tables and sentences in the width that there is.

A row is one line where the width is not known (files, `grep`, `awk`). On a terminal that is too narrow, long cells
continue below; where even that is not enough, each row becomes a list of its fields, as `psql` does with `\\x auto`.
Names and commands stay whole, so that they can be copied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap

_COLUMN_GAP = "  "
_LEAST_COLUMN = 8  # a narrower one splits even `240 images/h` over more than two lines
_MOST_LINES = 4  # about so many for a cell; more are a tower of words that nobody reads
_LEAST_TEXT = 20  # beside a name; on a terminal that is narrower still, lines run over its edge
_CODE = re.compile(r"`[^`]*`")
_HELD = "\u00a0"
"""`textwrap` breaks at spaces of ASCII alone."""


def aligned(rows: Sequence[Sequence[str]], *, width: int | None = None) -> list[str]:
    """Make lines of rows whose columns stand under each other, the first row being their names.

    `width` in characters; None gives each row one line, however long that is.
    """
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    if width is None or _total(widths) <= width:
        return [_line(row, widths) for row in rows]
    narrower = _narrowed(rows, widths, width)
    if narrower is None:
        return list(_as_fields(rows, width))
    return [line for row in rows for line in _folded(row, narrower)]


def fields(pairs: Sequence[tuple[str, str]], *, width: int | None = None) -> list[str]:
    """Make lines of names and values, the values under each other."""
    name_width = max((len(name) for name, _ in pairs), default=0)
    indent = " " * (name_width + len(_COLUMN_GAP))
    return [
        line
        for name, value in pairs
        for line in sentence(f"{name.ljust(name_width)}{_COLUMN_GAP}", value, indent, width=width)
    ]


def sentence(start: str, text: str, indent: str, *, width: int | None = None) -> list[str]:
    """Make lines of a text after `start`, those that follow behind `indent`; one line where no width is given."""
    if width is None or len(start) + len(text) <= width:
        return [start + text]
    lines = _wrapped(text, max(width - len(indent), _LEAST_TEXT))
    return [f"{indent if place else start}{line}" for place, line in enumerate(lines)]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_COLUMN_GAP) * (len(widths) - 1)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return _COLUMN_GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _narrowed(rows: Sequence[Sequence[str]], widths: Sequence[int], width: int) -> list[int] | None:
    """Take from the widest column until the table fits; None when its words are too long for that."""
    least = [_least(column, natural) for column, natural in zip(zip(*rows, strict=True), widths, strict=True)]
    if _total(least) > width:
        return None
    found = list(widths)
    while _total(found) > width:
        found[max((place for place in range(len(found)) if found[place] > least[place]), key=found.__getitem__)] -= 1
    return found


def _least(cells: Sequence[str], natural: int) -> int:
    longest_word = max((len(word) for cell in cells for word in _held(cell).split(" ")), default=0)
    return max(longest_word, min(natural, _LEAST_COLUMN), natural // _MOST_LINES)


def _folded(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    columns = [_wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for line in zip_longest(*columns, fillvalue=""):
        yield _line(line, widths)


def _as_fields(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    names, *records = rows
    for place, record in enumerate(records):
        if place:
            yield ""
        yield from fields(list(zip(names, record, strict=True)), width=width)


def _wrapped(text: str, width: int) -> list[str]:
    lines = wrap(_held(text), width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_HELD, " ") for line in lines] or [""]


def _held(text: str) -> str:
    """Keep what stands between backticks together."""
    return _CODE.sub(lambda found: found[0].replace(" ", _HELD), text)
