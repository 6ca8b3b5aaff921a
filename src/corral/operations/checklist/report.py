"""The state of a checklist: for programs, as Markdown, and as a chart of its phases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from corral.operations.checklist.running import status_of
from corral.operations.checklist.state import Progress
from corral.operations.checklist.values import SETTLED, Status
from corral.planning.checklist import Checklist, Item, ItemKind, Phase

_BOXES = {Status.DONE: "x", Status.SKIPPED: "-"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A checklist with its answers."""

    checklist: Checklist
    progress: Progress

    @property
    def left(self) -> tuple[Item, ...]:
        """Items that are not settled."""
        return tuple(item for item in self.checklist.items if status_of(self.progress, item) not in SETTLED)

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many items stand how; those that are none are left out."""
        counted = Counter(status_of(self.progress, item) for item in self.checklist.items)
        return {status: counted[status] for status in Status if counted[status]}

    @property
    def summary(self) -> str:
        """Say it in one line: `12 of 37 settled; 3 failed, 22 open`."""
        total = len(self.checklist.items)
        rest = ", ".join(f"{count} {status.value}" for status, count in self.counts.items() if status not in SETTLED)
        return f"{total - len(self.left)} of {total} settled" + (f"; {rest}" if rest else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemAnswer:
    """An item with its answer."""

    id: str
    phase: Phase
    kind: ItemKind
    node: str | None
    title: str
    why: str
    task: str
    """What to do, or the command that does it."""
    material: str | None
    status: Status
    at: datetime | None
    evidence: str | None
    """The observation, the command's output, or the person's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecklistAnswer:
    """A checklist with its answers."""

    cluster: str
    digest: str
    """Of the upgrade: answers belong to one."""
    started_at: datetime
    counts: Mapping[str, int]
    """Items by status."""
    left: tuple[str, ...]
    """Ids of the items that are not settled."""
    items: tuple[ItemAnswer, ...]


def answer_checklist(standing: Standing) -> ChecklistAnswer:
    """Return a checklist as doors show it to programs."""
    return ChecklistAnswer(
        cluster=standing.checklist.cluster,
        digest=standing.progress.digest,
        started_at=standing.progress.started_at,
        counts={status.value: count for status, count in standing.counts.items()},
        left=tuple(item.id for item in standing.left),
        items=tuple(_answer_item(standing.progress, item) for item in standing.checklist.items),
    )


def write_markdown(standing: Standing, *, chart: str | None = None) -> str:
    """Write it for people; `chart` is the file next to the report."""
    parts = [
        f"# Migration of {standing.checklist.cluster}",
        f"Begun {standing.progress.started_at:%Y-%m-%d %H:%M} UTC. {standing.summary}.",
        *([f"![items by phase]({chart})"] if chart else []),
    ]
    for phase in standing.checklist.phases:
        lines = [line for item in standing.checklist.of(phase) for line in _write_item(standing.progress, item)]
        parts.append("\n".join([f"## {phase.value.capitalize()} phase", "", *lines]))
    return "\n\n".join(parts) + "\n"


def draw_chart(standing: Standing) -> str:
    """Draw how many items of each phase stand how, as SVG."""
    from corral.charts import draw_bars  # here: a server needs no charts at its start

    groups = {
        phase.value: {
            status.value: float(sum(status_of(standing.progress, item) is status for item in items))
            for status in standing.counts
        }
        for phase in standing.checklist.phases
        if (items := standing.checklist.of(phase))
    }
    return draw_bars(f"Migration of {standing.checklist.cluster}", "items", groups)


def _answer_item(progress: Progress, item: Item) -> ItemAnswer:
    answer = progress.of(item)
    return ItemAnswer(
        id=item.id,
        phase=item.phase,
        kind=item.kind,
        node=item.node,
        title=item.title,
        why=item.why,
        task=item.task,
        material=item.material,
        status=status_of(progress, item),
        at=answer.at if answer else None,
        evidence=answer.evidence if answer else None,
    )


def _write_item(progress: Progress, item: Item) -> Iterator[str]:
    answer = progress.of(item)
    status = status_of(progress, item)
    task = f"`{item.task}`" if item.kind is ItemKind.COMMANDED else item.task.rstrip(".")
    yield f"- [{_BOXES.get(status, ' ')}] **{item.title}** ({item.kind.value}, {status.value}): {task}"
    if answer is not None:
        yield f"  - {answer.at:%Y-%m-%d %H:%M:%S} UTC: {answer.evidence}"
