"""Charts stand alone, say the same for the same values, and take any name."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree.ElementTree import Element, fromstring

import pytest

from corral.charts import GanttBar, GanttRow, Mark, draw_bars, draw_gantt, draw_lines

NASTY = """<script>alert("&'")</script>"""
ROWS = (
    GanttRow(
        name=NASTY,
        bars=(
            GanttBar(from_s=0, until_s=400, mark=Mark.LOAD),
            GanttBar(from_s=400, until_s=900, label=NASTY),
            GanttBar(from_s=900, until_s=1000, mark=Mark.LOST),
            GanttBar(from_s=1000, until_s=9000, mark=Mark.AWAY),
        ),
    ),
)
CHARTS: dict[str, Callable[[], str]] = {
    "gantt": lambda: draw_gantt(ROWS, title=NASTY, span_s=3600),
    "bars": lambda: draw_bars(NASTY, NASTY, {NASTY: {NASTY: 1.5, "other": None}, "second": {"other": 3}}),
    "lines": lambda: draw_lines(NASTY, NASTY, {NASTY: [(0, 1), (1, 3)], "other": [(0, 2), (2, 2)]}, along=NASTY),
    "gantt of nothing": lambda: draw_gantt((), title="empty", span_s=0),
    "bars of nothing": lambda: draw_bars("empty", "W", {}),
    "lines of nothing": lambda: draw_lines("empty", "W", {}),
}
every_chart = pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)


def rects(svg: str) -> list[Element]:
    return [rect for rect in fromstring(svg).iter("{http://www.w3.org/2000/svg}rect") if rect.find("*") is not None]


@every_chart
def test_a_chart_holds_no_address_but_the_name_of_its_format(draw: Callable[[], str]) -> None:
    svg = draw()
    assert set(re.findall(r"\w+://[^\"'\s<]*", svg)) == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"xlink:|href|url\(|@import|src=", svg)


@every_chart
def test_a_chart_runs_nothing(draw: Callable[[], str]) -> None:
    root = fromstring(draw())
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not tags & {"script", "foreignObject", "iframe", "a", "image", "use"}
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]


@every_chart
def test_the_same_values_give_the_same_bytes(draw: Callable[[], str]) -> None:
    assert draw() == draw()


@every_chart
def test_a_chart_says_what_it_shows_to_those_who_do_not_see_it(draw: Callable[[], str]) -> None:
    root = fromstring(draw())
    assert [child.tag.rpartition("}")[2] for child in root][:3] == ["title", "desc", "style"]
    assert root.get("role") == "img"
    assert root.get("viewBox")
    assert root.get("aria-label")


@every_chart
def test_a_chart_is_readable_in_the_dark(draw: Callable[[], str]) -> None:
    assert "prefers-color-scheme:dark" in draw()


@pytest.mark.parametrize("kind", ["gantt", "bars", "lines"])
def test_any_name_is_written_as_text(kind: str) -> None:
    svg = CHARTS[kind]()
    assert "<script>" not in svg
    assert fromstring(svg).findtext("{http://www.w3.org/2000/svg}title") == NASTY


def test_a_bar_is_drawn_where_and_as_long_as_it_lasts() -> None:
    row = GanttRow(name="slot", bars=(GanttBar(from_s=900, until_s=2700),))
    (drawn,) = rects(draw_gantt((row,), title="t", span_s=3600))
    assert float(drawn.attrib["x"]) == pytest.approx(180 + 760 / 4)
    assert float(drawn.attrib["width"]) == pytest.approx(760 / 2 - 0.5)


def test_what_lies_outside_the_span_is_cut_off() -> None:
    row = GanttRow(name="slot", bars=(GanttBar(from_s=-5, until_s=50), GanttBar(from_s=90, until_s=5000)))
    drawn = rects(draw_gantt((row,), title="t", span_s=100))
    assert all(180 <= float(rect.attrib["x"]) <= 940 for rect in drawn)
    assert max(float(rect.attrib["x"]) + float(rect.attrib["width"]) for rect in drawn) <= 940


def test_a_night_of_short_tasks_stays_a_small_file() -> None:
    night = tuple(GanttBar(from_s=30 * index, until_s=30 * index + 30, label=f"task {index}") for index in range(960))
    svg = draw_gantt((GanttRow(name="slot", bars=night),), title="t", span_s=28_800)
    assert len(rects(svg)) == 1
    assert "960 x work" in svg


def test_bars_of_other_models_are_not_joined() -> None:
    night = tuple(GanttBar(from_s=30 * index, until_s=30 * index + 30, group=index // 480) for index in range(960))
    assert len(rects(draw_gantt((GanttRow(name="slot", bars=night),), title="t", span_s=28_800))) == 2


def test_an_unknown_value_leaves_a_gap() -> None:
    known = draw_bars("t", "W", {"a": {"x": 1, "y": 2}})
    lacking = draw_bars("t", "W", {"a": {"x": 1, "y": None}})
    drawn = [svg.count('class="rect') for svg in (known, lacking)]
    assert drawn == [2, 1]


def test_bars_start_at_zero() -> None:
    svg = draw_bars("t", "W", {"a": {"before": 100, "after": 101}})
    heights = [float(height) for height in re.findall(r'height="([\d.]+)" class="rect', svg)]
    assert heights[0] / heights[1] == pytest.approx(100 / 101, rel=0.01)


def test_two_charts_of_one_page_share_no_name() -> None:
    both = [draw_bars(title, "W", {"one": {"a": 1, "b": 2}}) for title in ("Power", "Heat")]
    names = [re.findall(r'\bid="([^"]+)"', svg) for svg in both]
    assert names[0]
    assert not set(names[0]) & set(names[1])
    assert all(len(set(names_of_chart)) == len(names_of_chart) for names_of_chart in names)
