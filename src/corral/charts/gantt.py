"""Gantt charts: who did what when, one row for each.

Bars too narrow to be distinguished are drawn as one, so that a night of thousands of tasks stays a small file. The kind
of a bar shows in its shape as well as in its colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from xml.etree.ElementTree import Element

from corral.charts.svg import PALETTE, add, as_text, begin_sheet
from corral.units import format_duration

_WIDTH, _ROW, _TOP, _BOTTOM, _NAMES = 960, 28, 56, 44, 180
"""Pixels: the chart's width, a row's height, the space above and below the rows, and that for names on the left."""
_BAR = 20.0
_NARROW = 3.0
"""Bars below this many pixels are joined with their neighbours; there is a pixel of gap in what remains."""
_LETTERS = 24
"""Of a row's name; longer ones are cut, and their title has all of it."""
_STEPS_S = (1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
_MOST_TICKS = 12


class Mark(StrEnum):
    """The kind of a bar."""

    WORK = "work"
    LOAD = "load"
    """A model is being loaded."""
    LOST = "lost"
    """Work that was lost and is done again."""
    AWAY = "away"
    """The slot is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GanttBar:
    """A span of time in a row, in seconds."""

    from_s: float
    until_s: float
    mark: Mark = Mark.WORK
    label: str = ""
    """Shown when the bar is pointed at, and read to those who do not see it."""
    group: int = 0
    """Bars of one group share a colour; 0 to 7."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GanttRow:
    """A slot, and what it did."""

    name: str
    bars: tuple[GanttBar, ...]
    """In order of `from_s`."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a mark is drawn: its part of the row's height, and its style."""

    height: float
    style: str


_SHAPES = {
    Mark.WORK: _Shape(1.0, ""),
    Mark.LOAD: _Shape(0.5, "fill:var(--faint)"),
    Mark.LOST: _Shape(1.0, "fill:none;stroke:var(--ink);stroke-dasharray:3 2"),
    Mark.AWAY: _Shape(0.15, "fill:var(--ink)"),
}


def draw_gantt(rows: Sequence[GanttRow], *, title: str, span_s: float) -> str:
    """Draw rows over `span_s` seconds from 0; what is outside is cut off."""
    height = _TOP + _ROW * len(rows) + _BOTTOM
    bars = sum(len(row.bars) for row in rows)
    root = begin_sheet(_WIDTH, height, title, f"{len(rows)} rows with {bars} bars over {format_duration(span_s)}")
    add(root, "text", title, x=_WIDTH / 2, y=22, text_anchor="middle", font_size="16")
    scale = (_WIDTH - _NAMES - 20) / max(span_s, 1e-9)
    _draw_axis(root, span_s, scale, _TOP + _ROW * len(rows))
    for index, row in enumerate(rows):
        _draw_row(root, row, _TOP + _ROW * index, span_s, scale)
    _draw_legend(root, rows, height - 8)
    return as_text(root)


def _draw_row(root: Element, row: GanttRow, top: float, span_s: float, scale: float) -> None:
    group = add(root, "g")
    name = row.name if len(row.name) <= _LETTERS else row.name[: _LETTERS - 1] + "…"
    text = add(group, "text", name, x=_NAMES - 10, y=top + 15, text_anchor="end", font_size="12")
    add(text, "title", row.name)
    for bar, count in _join_narrow(_cut(row.bars, span_s), scale):
        shape = _SHAPES[bar.mark]
        drawn = add(
            group,
            "rect",
            x=_NAMES + bar.from_s * scale,
            y=top + _BAR * (1 - shape.height) / 2,
            width=max(0.5, (bar.until_s - bar.from_s) * scale - (0.5 if count == 1 else 0)),
            height=_BAR * shape.height,
            style=shape.style or f"fill:{PALETTE[bar.group % len(PALETTE)]}",
        )
        add(drawn, "title", _describe(bar, count))


def _cut(bars: Sequence[GanttBar], span_s: float) -> Iterator[GanttBar]:
    for bar in bars:
        from_s, until_s = max(0.0, bar.from_s), min(span_s, bar.until_s)
        if from_s < until_s:
            yield replace(bar, from_s=from_s, until_s=until_s)


def _join_narrow(bars: Iterator[GanttBar], scale: float) -> Iterator[tuple[GanttBar, int]]:
    """Narrow bars of one kind that touch, as one, and of how many each is made."""
    present: GanttBar | None = None
    count = 0
    for bar in bars:
        if present is not None and _is_joinable(present, bar, scale):
            present, count = replace(present, until_s=bar.until_s), count + 1
            continue
        if present is not None:
            yield present, count
        present, count = bar, 1
    if present is not None:
        yield present, count


def _is_joinable(present: GanttBar, bar: GanttBar, scale: float) -> bool:
    same = (present.mark, present.group) == (bar.mark, bar.group)
    narrow = (bar.until_s - bar.from_s) * scale < _NARROW
    return same and narrow and (bar.from_s - present.until_s) * scale < 0.5


def _describe(bar: GanttBar, count: int) -> str:
    what = bar.label if count == 1 and bar.label else f"{count} x {bar.mark}" if count > 1 else str(bar.mark)
    return f"{what}, {format_duration(bar.from_s)} to {format_duration(bar.until_s)}"


def _draw_axis(root: Element, span_s: float, scale: float, bottom: float) -> None:
    step = next((step for step in _STEPS_S if span_s / step <= _MOST_TICKS), None) or _count_whole_days(span_s)
    for index in range(int(span_s // step) + 1):
        x = _NAMES + index * step * scale
        add(root, "line", x1=x, x2=x, y1=_TOP - 6, y2=bottom, stroke="var(--faint)", stroke_width="0.5")
        add(root, "text", _format_clock(index * step, span_s), x=x, y=_TOP - 12, text_anchor="middle", font_size="11")


def _count_whole_days(span_s: float) -> int:
    return 86_400 * (int(span_s / 86_400 / _MOST_TICKS) + 1)


def _draw_legend(root: Element, rows: Sequence[GanttRow], y: float) -> None:
    """Name the marks that occur."""
    seen = {bar.mark for row in rows for bar in row.bars}
    x = float(_NAMES)
    for mark in Mark:
        if mark in seen:
            shape = _SHAPES[mark]
            top = y - 10 + 12 * (1 - shape.height) / 2
            add(root, "rect", x=x, y=top, width=18, height=12 * shape.height, style=shape.style or f"fill:{PALETTE[0]}")
            add(root, "text", str(mark), x=x + 24, y=y, font_size="11")
            x += 90


def _format_clock(seconds: int, span_s: float) -> str:
    """Hours and minutes, or minutes and seconds in a chart of less than an hour."""
    larger, smaller = divmod(seconds // 60 if span_s >= 3600 else seconds, 60)
    return f"{larger}:{smaller:02d}"
