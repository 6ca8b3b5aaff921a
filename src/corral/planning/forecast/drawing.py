"""A simulated run as rows of a Gantt chart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from corral.charts import GanttBar, GanttRow, Mark, draw_gantt
from corral.scheduling.simulator.values import Run, Span, Trace
from corral.work import SlotId


def draw_run(trace: Trace, run: Run, *, title: str, span_s: float) -> str:
    """Draw what each slot did in the first `span_s` seconds, tasks of one model in one colour."""
    return draw_gantt(make_rows(trace, run, span_s), title=title, span_s=span_s)


def make_rows(trace: Trace, run: Run, span_s: float) -> tuple[GanttRow, ...]:
    """Make a row for each slot, in the order of the trace."""
    models = {arrival.id: arrival.model or arrival.engine for arrival in trace.arrivals}
    groups = {name: place for place, name in enumerate(sorted(set(models.values())))}
    bars: defaultdict[SlotId, list[GanttBar]] = defaultdict(list)
    for span in run.spans:
        name = models[span.task]
        for slot in span.slots:
            bars[slot] += _draw_bars(span, f"task {span.task}, {name}", groups[name])
    for outage in trace.outages:
        away = GanttBar(from_s=outage.from_s, until_s=min(outage.until_s, span_s), mark=Mark.AWAY)
        if away.from_s < away.until_s:
            bars[outage.slot].append(away)
    return tuple(
        GanttRow(name=slot.id, bars=tuple(sorted(bars[slot.id], key=lambda bar: bar.from_s))) for slot in trace.slots
    )


def _draw_bars(span: Span, label: str, group: int) -> Iterator[GanttBar]:
    loaded_s = span.from_s + span.load_s
    if span.load_s:
        yield GanttBar(from_s=span.from_s, until_s=loaded_s, mark=Mark.LOAD, label=f"{label}: loading")
    mark = Mark.LOST if span.lost else Mark.WORK
    yield GanttBar(from_s=loaded_s, until_s=span.until_s, mark=mark, label=label, group=group)
