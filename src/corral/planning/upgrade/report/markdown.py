"""The whole report as Markdown (GitHub's tables), and its last parts: from Part 7 to the conclusion."""

from __future__ import annotations

from corral.planning.checklist import FromFile, write_checklist
from corral.planning.upgrade.advice import Weight
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import list_names
from corral.planning.upgrade.hardware import GpuChange, GpuChangeKind
from corral.planning.upgrade.report.architecture import write_architecture, write_schema
from corral.planning.upgrade.report.capabilities import write_capabilities, write_pipeline
from corral.planning.upgrade.report.front_page import make_front_page, write_front_page
from corral.planning.upgrade.report.machines import write_power, write_summary
from corral.planning.upgrade.report.pieces import bullets, escaped, paragraph
from corral.planning.upgrade.report.scheduling import write_scheduling

_MOST_NAMES = 12


def write_unchanged(upgrade: Upgrade) -> list[str]:
    """Write Part 7."""
    same = upgrade.unchanged
    parts = (
        ("Nodes", same.nodes),
        ("Services", same.services),
        ("Storage", same.storage),
        ("Layouts", same.layouts),
        ("Queues", same.queues),
        ("Workloads", same.workloads),
    )
    notes = [f"{name}: {list_names(names, _MOST_NAMES)}" for name, names in parts if names]
    if same.kubernetes:
        notes.append(f"Kubernetes: {same.kubernetes}")
    lines = ["## Part 7: What does not change", "", *(bullets(notes) or paragraph("Nothing is as it was."))]
    return lines + bullets(_metrics(change) for change in upgrade.hardware.changes if _is_other_card(change))


def _is_other_card(change: GpuChange) -> bool:
    return change.before is not None and change.after is not None and change.kind is GpuChangeKind.REPLACED


def _metrics(change: GpuChange) -> str:
    before, after = (gpu.title if gpu else "" for gpu in (change.before, change.after))
    return (
        f"Metrics go on for {change.gpu} under another model and UUID: a panel or alert that filters by {before} "
        f"shows nothing, one that filters by index mixes it with {after}."
    )


def write_steps(upgrade: Upgrade) -> list[str]:
    """Write Part 8; what the cluster file proves is checked off."""
    proven = {f"- [ ] **{item.title}**" for item in upgrade.checklist.items if isinstance(item.work, FromFile)}
    lines = ["## Part 8: Migration checklist", ""]
    for line in write_checklist(upgrade.checklist, level=3).splitlines():
        is_proven = any(line.startswith(beginning) for beginning in proven)
        lines.append(line.replace("[ ]", "[x]", 1) if is_proven else line)
    lines.append("")
    return lines + paragraph("`corral checklist` goes through it, item by item, and keeps the evidence.")


def write_beliefs(upgrade: Upgrade) -> list[str]:
    """Write what many believe and what would do harm here; nothing when the situation calls for none of it."""
    if not upgrade.corrections:
        return []
    lines = ["## Common beliefs that are wrong here", ""]
    for correction in upgrade.corrections:
        lines += [f"**{escaped(correction.belief)}** Not so. {escaped(correction.truth)}", ""]
        lines += [
            f"Here: {escaped(correction.here)}. Source: {escaped(correction.source)}{_pitfall(correction.id)}.",
            "",
        ]
    return lines


def _pitfall(identity: str) -> str:
    return f" (pitfalls {identity})" if identity[0].isupper() else ""


def write_conclusion(upgrade: Upgrade) -> list[str]:
    """Write the recommendation with all its reasons."""
    advice = upgrade.recommendation
    lines = ["## Conclusion", "", *paragraph(f"**Recommendation: {advice.advice.value}.**")]
    groups = (
        ("Gained", (Weight.GAIN,)),
        ("To know", (Weight.COST,)),
        ("To settle first", (Weight.CONDITION,)),
        ("Worse than before", (Weight.LOSS,)),
        ("Against it", (Weight.BLOCKER,)),
    )
    for heading, weights in groups:
        reasons = advice.of(*weights)
        if reasons:
            lines += [f"**{heading}**", "", *bullets(reason.what for reason in reasons)]
    if advice.would_change:
        lines += ["**What would change this**", "", *bullets(advice.would_change)]
    return lines + paragraph(
        "Not weighed: what the GPUs cost and what the old ones bring, which no file of the cluster says."
    )


PARTS = (
    write_summary,
    write_power,
    write_scheduling,
    write_capabilities,
    write_architecture,
    write_schema,
    write_pipeline,
    write_unchanged,
    write_steps,
    write_beliefs,
    write_conclusion,
)


def to_markdown(upgrade: Upgrade) -> str:
    """Write the report; it ends with a line end."""
    page = make_front_page(upgrade)
    lines = [f"# {escaped(page.title)}", "", *write_front_page(page)]
    for part in PARTS:
        lines += part(upgrade)
    return "\n".join(lines).rstrip() + "\n"
