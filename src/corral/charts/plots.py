"""Bars and lines, drawn by pygal, and made to stand alone.

pygal writes a date, links, a script and a random id into what it draws; all of that is taken out or fixed here, so that
the same values give the same bytes. Drawn values are shown as text too: next to bars, and in their titles.
It is loaded by the first chart: few commands draw one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from corral.charts.svg import PALETTE, as_text, frame, without_scripts

_WIDTH, _HEIGHT = 960, 360
_LONGEST = 28
"""Letters of a name in a legend or under a bar; longer ones are cut."""


def draw_bars(title: str, unit: str, groups: Mapping[str, Mapping[str, float | None]]) -> str:
    """Draw a bar for each value, by group and then by series: `{"per night": {"before": 960, "after": 1920}}`.

    None leaves a gap: the value is unknown.
    """
    import pygal

    chart = pygal.Bar(**_make_settings(title, unit), print_values=True, include_x_axis=True)
    chart.x_labels = [_shorten(name) for name in groups]
    for series in _list_series(groups):
        chart.add(_shorten(series), [group.get(series) for group in groups.values()])
    return _draw(chart, title, f"bars of {', '.join(groups) or 'nothing'}, in {unit}")


def draw_lines(title: str, unit: str, series: Mapping[str, Sequence[tuple[float, float]]], *, along: str = "s") -> str:
    """Draw a line through the points of each series; x is in `along`, y in `unit`, points in order of x."""
    import pygal

    chart = pygal.XY(**_make_settings(title, unit), x_title=along, show_dots=False)
    for name, points in series.items():
        chart.add(_shorten(name), list(points))
    return _draw(chart, title, f"lines of {', '.join(series) or 'nothing'}, in {unit} along {along}")


def _make_settings(title: str, unit: str) -> dict[str, Any]:  # Any: pygal's settings are untyped keywords
    return {
        "title": title,
        "y_title": unit,
        "width": _WIDTH,
        "height": _HEIGHT,
        "style": _make_style(),
        "js": [],
        "disable_xml_declaration": True,
        "legend_at_bottom": True,
        "formatter": _format_number,
        "no_data_text": "no values",
    }


def _make_style() -> Any:  # Any: pygal has no types
    from pygal.style import Style

    return Style(
        background="var(--paper)",
        plot_background="transparent",
        foreground="var(--ink)",
        foreground_strong="var(--ink)",
        foreground_subtle="var(--faint)",
        guide_stroke_color="var(--faint)",
        major_guide_stroke_color="var(--faint)",
        font_family="inherit",
        colors=PALETTE,
        opacity="1",
        opacity_hover="1",
        transition="0s",
        title_font_size=16,
        label_font_size=11,
        major_label_font_size=11,
        legend_font_size=12,
        value_font_size=11,
    )


def _draw(chart: Any, title: str, description: str) -> str:  # Any: pygal has no types
    chart.uuid = _name_of(title)
    root = without_scripts(chart.render(is_unicode=True))
    return as_text(frame(root, title, description))


def _list_series(groups: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    return list(dict.fromkeys(series for group in groups.values() for series in group))


def _name_of(title: str) -> str:
    """What sets a chart's styles apart from those of others on the same page; equal titles share them."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "untitled"


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:,.6g}"
