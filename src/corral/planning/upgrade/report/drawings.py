"""The charts of the page, each with the heading above it."""

from __future__ import annotations

from dataclasses import dataclass

from corral.charts import draw_bars
from corral.figures import Figure
from corral.planning.forecast.drawing import draw_run
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.power import MACHINE, TGP, PowerComparison
from corral.planning.upgrade.throughput import Throughput

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
