"""The first page of the report: the verdict, what changes, what it costs, and what to do first.

Every door shows this page; the parts of the report behind it are the evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import Template

from corral.planning.checklist.values import FromFile
from corral.planning.upgrade.advice import Weight
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import UNKNOWN, Difference, change_text, format_amount, format_number
from corral.planning.upgrade.hardware import GpuChange, GpuChangeKind, NodeGpu
from corral.planning.upgrade.power import ENERGY, MACHINE, RECOMMENDED, TGP
from corral.planning.upgrade.report.pieces import bullets, escaped, table
from corral.planning.upgrade.throughput import Throughput

_MOST_FIRST = 5
"""Items of the checklist on the page: about what is done on the first evening."""
_HOUR_S = 3600
FIGURE_COLUMNS = ("", "Before", "After", "Change")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPage:
    """The text that a reader needs to decide."""

    title: str
    verdict: str
    """`go`, `no-go` or `go, if ...`, in a word or two."""
    sentence: str
    changes: tuple[str, ...]
    """One for each GPU that changes."""
    figures: tuple[tuple[str, str, str, str], ...]
    """Name, before, after and change: memory, watts, energy, and hours of work."""
    costs: tuple[str, ...]
    """The costs, and what must be settled."""
    first: tuple[str, ...]
    """The first open items of the checklist."""
    further: int
    """How many more open items the checklist has."""


_TEMPLATE = Template("""\
## Answer

**$verdict**: $sentence

### What changes

$changes### Key figures

$figures$costs### What to do first

$first
$further

Everything below is the appendix: the evidence for this page, and the whole checklist.
""")


def make_front_page(upgrade: Upgrade) -> FrontPage:
    """Gather what the first page says."""
    advice = upgrade.recommendation
    items = [item.title for item in upgrade.checklist.items if not isinstance(item.work, FromFile)]
    return FrontPage(
        title=make_title(upgrade),
        verdict=advice.advice.value,
        sentence=advice.sentence,
        changes=tuple(map(describe_change, upgrade.hardware.changes)),
        figures=tuple(_list_figures(upgrade)),
        costs=tuple(reason.what for reason in advice.of(Weight.BLOCKER, Weight.CONDITION, Weight.LOSS, Weight.COST)),
        first=tuple(items[:_MOST_FIRST]),
        further=len(items[_MOST_FIRST:]),
    )


def write_front_page(page: FrontPage) -> list[str]:
    """Write the page as Markdown."""
    costs = ["### What it costs, and what to settle", "", *bullets(page.costs)] if page.costs else []
    further = f"`corral checklist` walks you through these and {page.further} more items." if page.further else ""
    text = _TEMPLATE.substitute(
        verdict=page.verdict,
        sentence=escaped(page.sentence),
        changes=_join(bullets(page.changes) or ["No GPU changes.", ""]),
        figures=_join(table(FIGURE_COLUMNS, page.figures)),
        costs=_join(costs),
        first=_join(bullets(page.first) or ["Nothing has to be done.", ""]).rstrip("\n"),
        further=f"\n{further}".rstrip(),
    )
    return [*text.splitlines(), ""]


def make_title(upgrade: Upgrade) -> str:
    """Name the report by what changes: `Upgrade of hydra: hydra-compute/gpu1 becomes RTX 5070 Ti`."""
    gpus = [change for change in upgrade.hardware.changes if change.kind is not GpuChangeKind.LIMITED]
    if len(gpus) == 1:
        return f"Upgrade of {upgrade.after.name}: {describe_change(gpus[0])}"
    nodes = ", ".join(node.name for node in upgrade.hardware.changed)
    return f"Upgrade of {upgrade.after.name}: {nodes or 'no GPU changes'}"


def describe_change(change: GpuChange) -> str:
    """Describe what happens to one GPU."""
    if change.kind is GpuChangeKind.LIMITED:
        limits = [gpu.power_limit_w if gpu else None for gpu in (change.before, change.after)]
        old, new = ("no power limit" if limit is None else f"{limit} W" for limit in limits)
        return f"{change.gpu}: {old} → {new}"
    if change.before is not None and change.kind in (GpuChangeKind.MOVED, GpuChangeKind.RENUMBERED):
        return f"{change.gpu}: was {change.before.name}, {describe_gpu(change.before)}"
    if change.before is None and change.after is not None:
        return f"{change.gpu}: new, {describe_gpu(change.after)}"
    if change.after is None and change.before is not None:
        return f"{change.gpu}: gone, {describe_gpu(change.before)}"
    before, after = (describe_gpu(gpu) if gpu else "" for gpu in (change.before, change.after))
    return f"{change.gpu}: {before} → {after}"


def describe_gpu(gpu: NodeGpu) -> str:
    """Describe a GPU with its memory and power limit: `RTX 5070 Ti (16 GiB, limit 250 W)`."""
    facts = [UNKNOWN + " VRAM" if gpu.memory is None else format_amount(gpu.memory, "B")]
    if gpu.power_limit_w is not None:
        facts.append(f"limit {gpu.power_limit_w} W")
    return f"{gpu.title} ({', '.join(facts)})"


def _list_figures(upgrade: Upgrade) -> list[tuple[str, str, str, str]]:
    differences = [upgrade.hardware.memory]
    for machine in upgrade.power:
        figures = (machine.row(name) for name in (TGP, MACHINE, RECOMMENDED, ENERGY))
        differences += [replace(row, name=f"{row.name}, {machine.node}") for row in figures if row is not None]
    rows = [_write_row(difference) for difference in differences]
    for workload in upgrade.findings.throughput:
        if workload.per_night.after is not None:
            rows += [_write_row(workload.per_night), *_write_hours(workload)]
    return rows


def _write_row(difference: Difference) -> tuple[str, str, str, str]:
    return difference.name, difference.before_text, difference.after_text, change_text(difference)


def _write_hours(workload: Throughput) -> list[tuple[str, str, str, str]]:
    """Write how long the work of a night takes after the upgrade; nothing where it takes as long as before."""
    before, after = workload.per_night.before, workload.per_night.after
    if before is None or after is None or not before.value or not after.value or workload.before is None:
        return []
    night = workload.before.night_s / _HOUR_S
    now = night * before.value / after.value
    if round(now, 1) == round(night, 1):
        return []
    name = f"Hours for {format_number(before.value)} {before.unit}"
    return [(name, f"{night:.1f} h", f"{now:.1f} h", f"{now - night:+.1f} h")]


def _join(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
