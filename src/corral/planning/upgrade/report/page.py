"""The report as one HTML page that needs nothing else: no script, no address, charts inside, readable on paper.

The text is the Markdown report, so the two never say different things. Raw HTML in it is not let through: names in a
cluster file are text, whatever they look like. Each chart is put under the heading that it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from corral.charts import draw_bars
from corral.figures import Figure
from corral.planning.forecast.page import draw_run
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.power import MACHINE, TGP, PowerComparison
from corral.planning.upgrade.report.front_page import make_title
from corral.planning.upgrade.report.markdown import to_markdown
from corral.planning.upgrade.throughput import Throughput

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --paper: #ffffff; --soft: #f2f4f7; --line: #d5dae1; --mark: #0b6bcb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --paper: #14171b; --soft: #1e2329; --line: #39414b; --mark: #6db3ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; }
h1 { line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 2px solid var(--line); padding-bottom: .3rem; }
h3 { margin-top: 2rem; }
a { color: var(--mark); }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { border: 1px solid var(--line); padding: .35rem .7rem; text-align: left; vertical-align: top; }
th { background: var(--soft); }
code { background: var(--soft); padding: .1rem .3rem; border-radius: .2rem; font-size: .9em; }
pre { background: var(--soft); padding: 1rem; overflow-x: auto; border-radius: .4rem; line-height: 1.4; }
pre code { padding: 0; background: none; }
nav { background: var(--soft); border-radius: .4rem; padding: 1rem 1.5rem; margin: 1.5rem 0; }
nav ol { margin: .3rem 0 0; padding-left: 1.3rem; columns: 2; }
figure { margin: 1.5rem 0; } figure svg { max-width: 100%; height: auto; }
figcaption { font-size: .9rem; opacity: .8; }
li.done, li.open { list-style: none; margin-left: -1.2rem; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; }
  h2 { break-before: page; } table, figure { break-inside: avoid; } pre { white-space: pre-wrap; }
}
"""
_BOXES = (("[x] ", "done", "☑"), ("[ ] ", "open", "☐"))

_GIB = 2**30
_MOST_BARS = 12
_MOST_CHARTS = 3
_OPENING_S = 600
_POWER = {
    TGP: "GPUs",
    MACHINE: "machine",
    "Peak for about 1 ms": "peak",
    "Recommended power supply": "supply, advised",
    "Power supply in the file": "supply, in the file",
}


def to_page(upgrade: Upgrade) -> str:
    """Write the page; the same upgrade gives the same bytes."""
    from markdown_it import MarkdownIt  # here: few upgrades are written as a page

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(to_markdown(upgrade))
    headings = _name_headings(tokens)
    _draw_boxes(tokens)
    body = _with_drawings(reader, tokens, drawings(upgrade))
    name = escape(make_title(upgrade))
    contents = "\n".join(f'<li><a href="#{anchor}">{escape(text)}</a></li>' for anchor, text in headings)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"{_after_title(body, f'<nav><strong>Contents</strong><ol>{contents}</ol></nav>')}</body>\n</html>\n"
    )


def _name_headings(tokens: Sequence[Token]) -> list[tuple[str, str]]:
    """Give every heading an anchor, and list those of parts with their text."""
    parts: list[tuple[str, str]] = []
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            anchor = f"s{index}"
            token.attrSet("id", anchor)
            if token.tag == "h2":
                parts.append((anchor, tokens[index + 1].content))
    return parts


def _draw_boxes(tokens: Sequence[Token]) -> None:
    """Draw the boxes of things to do, which plain Markdown leaves as text."""
    for index, token in enumerate(tokens):
        inline = tokens[index + 2] if token.type == "list_item_open" and index + 2 < len(tokens) else None
        if inline is None or inline.type != "inline" or not inline.children:
            continue
        for text, name, sign in _BOXES:
            if inline.children[0].content.startswith(text):
                token.attrSet("class", name)
                inline.children[0].content = f"{sign} {inline.children[0].content.removeprefix(text)}"


def _with_drawings(reader: MarkdownIt, tokens: Sequence[Token], figures: Sequence[Drawing]) -> str:
    """Render the tokens, each drawing under the heading that it belongs to."""
    html: list[str] = []
    start = 0
    for index, token in enumerate(tokens):
        if token.type != "heading_close":
            continue
        here = [figure for figure in figures if tokens[index - 1].content.startswith(figure.heading)]
        if here:
            html.append(_render(reader, tokens[start : index + 1]))
            html += [_figure(caution) for caution in here]
            start = index + 1
    html.append(_render(reader, tokens[start:]))
    return "".join(html)


def _render(reader: MarkdownIt, tokens: Sequence[Token]) -> str:
    return str(reader.renderer.render(tokens, reader.options, {}))


def _figure(drawing: Drawing) -> str:
    return f"<figure>{drawing.svg}<figcaption>{escape(drawing.caption)}</figcaption></figure>\n"


def _after_title(body: str, contents: str) -> str:
    head, end, rest = body.partition("</h1>\n")
    return f"{head}{end}{contents}\n{rest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A chart."""

    heading: str
    """How the heading above it begins."""
    svg: str
    caption: str


def drawings(upgrade: Upgrade) -> tuple[Drawing, ...]:
    """Draw VRAM by node, power by machine, and what a night makes; nothing for what is unknown."""
    return (*_memory(upgrade), *(_power(machine) for machine in upgrade.power if machine.after), *_nights(upgrade))


def _memory(upgrade: Upgrade) -> list[Drawing]:
    nodes = [node for node in upgrade.hardware.nodes if node.memory.before or node.memory.after]
    shown = nodes if len(nodes) <= _MOST_BARS else [node for node in nodes if node.gpus_change][:_MOST_BARS]
    if not shown:
        return []
    groups = {
        node.name: {"before": _value(node.memory.before, _GIB), "after": _value(node.memory.after, _GIB)}
        for node in shown
    }
    caption = "VRAM of each node before and after" if len(shown) == len(nodes) else "VRAM of the nodes that change"
    return [Drawing(heading="Cluster totals", svg=draw_bars("VRAM by node", "GiB", groups), caption=caption)]


def _power(machine: PowerComparison) -> Drawing:
    groups = {
        name: {"before": _value(row.before), "after": _value(row.after)}
        for row in machine.rows
        if (name := _POWER.get(row.name))
    }
    return Drawing(
        heading=f"Power of {machine.node}",
        svg=draw_bars(f"Power of {machine.node}", "W", groups),
        caption="Draw without limits, with what the supply should be and what it is",
    )


def _nights(upgrade: Upgrade) -> list[Drawing]:
    known = [workload for workload in upgrade.findings.throughput if workload.per_night.after is not None][:_MOST_BARS]
    if not known:
        return []
    groups = {
        f"{forecast.workload} ({forecast.unit})": {
            "before": _value(forecast.per_night.before),
            "after": _value(forecast.per_night.after),
        }
        for forecast in known
    }
    nights = Drawing(heading="6.1", svg=draw_bars("In a night", "tasks", groups), caption="Each workload by itself")
    return [nights, *(drawing for forecast in known[:_MOST_CHARTS] for drawing in _openings(forecast))]


def _openings(workload: Throughput) -> list[Drawing]:
    """Draw how the night begins, where the upgrade changes it."""
    if workload.factor in (None, 1):
        return []
    return [
        Drawing(
            heading="6.1",
            svg=draw_run(
                forecast.trace, forecast.run, title=f"A night of {workload.workload}, {when}", span_s=_OPENING_S
            ),
            caption=f"The first {_OPENING_S // 60} minutes, {when}",
        )
        for when, forecast in (("before", workload.before), ("after", workload.after))
        if forecast and forecast.trace and forecast.run
    ]


def _value(figure: Figure | None, unit: float = 1) -> float | None:
    return None if figure is None else figure.value / unit
