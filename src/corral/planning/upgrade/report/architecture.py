"""Part 4 of the report: what has to change around the GPUs."""

from __future__ import annotations

from collections.abc import Iterable

from corral.hardware.profiles import ResourceProfile
from corral.planning.changes import Note
from corral.planning.upgrade.adaptations import Adaptation
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import UNKNOWN, format_amount
from corral.planning.upgrade.file_changes import QueueChange
from corral.planning.upgrade.report import excerpts
from corral.planning.upgrade.report.pieces import bullets, code, paragraph, table


def architecture(upgrade: Upgrade) -> list[str]:
    """Write Part 4."""
    return [
        "## Part 4: What has to change around the GPUs",
        "",
        "### 4.1 Node labels",
        "",
        *_labels(upgrade),
        "### 4.2 Configuration of nodes",
        "",
        *excerpts.of_nodes(upgrade),
        "### 4.3 Resource profiles",
        "",
        *_profiles(upgrade),
        "### 4.4 Queues",
        "",
        *_queues(upgrade.queues),
        "### 4.5 Services",
        "",
        *_adaptations(upgrade.adaptations),
        *excerpts.of_services(upgrade),
        "### 4.6 Files",
        "",
        *_files(upgrade),
    ]


def _labels(upgrade: Upgrade) -> list[str]:
    labels = upgrade.labels
    if not labels:
        return paragraph("None changes.")
    added = sum(len(label.added) + len(label.changed) for label in labels)
    lines = paragraph(f"{'One is' if added == 1 else f'{added} are'} added or changed.")
    if upgrade.after.kubernetes is not None:
        lines += paragraph(_LABELS_LAND)
        patches = (
            f"kubectl patch node {label.node} --patch-file kubernetes/nodes/{label.node}.yaml" for label in labels
        )
        lines += code("sh", "\n".join(patches))
    commands = [command for label in labels for command in label.commands]
    if commands:
        lines += paragraph(f"To be taken off, since no agent removes a label (the patch does it too): {len(commands)}.")
        lines += code("sh", "\n".join(commands))
    return lines


_LABELS_LAND = (
    "K3s sets those of its configuration at each start of a node; on any Kubernetes, a patch that `corral render` "
    "writes sets them at once, and takes off those of `removedLabels`:"
)


def _profiles(upgrade: Upgrade) -> list[str]:
    before, after = upgrade.records_before.resources, upgrade.records_after.resources
    if before == after:
        return paragraph("What nodes offer to workloads stays as it is.")
    rows = [_profile("before", entry) for entry in before if entry not in after]
    return table(
        ("", "Profile", "Class", "VRAM of each GPU", "Tasks at once", "Several GPUs for one task"),
        rows + [_profile("after", entry) for entry in after if entry not in before],
    )


def _profile(when: str, profile: ResourceProfile) -> tuple[str, ...]:
    memory = UNKNOWN if profile.vram_per_gpu is None else format_amount(profile.vram_per_gpu, "B")
    several = "yes" if profile.parallel_capable else "no"
    return (when, f"`{profile.name}`", profile.gpu_class, memory, str(profile.max_workloads), several)


def _queues(queues: tuple[QueueChange, ...]) -> list[str]:
    if not queues:
        return paragraph("Every queue keeps its pool.")
    return table(
        ("Queue", "Before", "After"),
        ((f"`{queue.name}`", queue.before or "-", queue.after or "gone") for queue in queues),
    )


def _adaptations(adaptations: tuple[Adaptation, ...]) -> list[str]:
    if not adaptations:
        return paragraph("Nothing else has to change for the GPUs to be used.")
    lines = paragraph(
        "The GPUs alone change nothing for work that is not sent to them. Proposed, and part of every figure that "
        "says *after*; `--adapt` writes what the file can say:"
    )
    return lines + table(
        ("What", "Before", "After", "Why", "Price"),
        (
            (adaptation.about, adaptation.before, adaptation.after, adaptation.why, adaptation.price or "none known")
            for adaptation in adaptations
        ),
    )


def _files(upgrade: Upgrade) -> list[str]:
    findings = upgrade.findings
    lines = paragraph("The cluster file; comments stay where they are, and those about what changed are yours to read.")
    lines += code("diff", findings.cluster_diff) if findings.cluster_diff else paragraph("It does not change.")
    if findings.proposal_diff:
        lines += [*paragraph("What `--adapt` adds to it:"), *code("diff", findings.proposal_diff)]
    lines += bullets(_grouped(findings.notes))
    return lines + excerpts.of_the_rest(upgrade)


def _grouped(notes: Iterable[Note]) -> list[str]:
    """Say what several notes share once, with all their places."""
    places: dict[str, list[str]] = {}
    for note in notes:
        places.setdefault(note.what, []).append(note.where)
    return [f"{what} ({', '.join(there)})" for what, there in places.items()]
