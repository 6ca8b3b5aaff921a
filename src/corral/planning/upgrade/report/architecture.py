"""Parts 4 and 5 of the report: changes around the GPUs, with the rendered files, and the cluster as records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from corral.hardware.pools import GpuPool, ResourceProfile
from corral.planning.changes import Note
from corral.planning.upgrade.adaptations import Adaptation
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import UNKNOWN, format_amount
from corral.planning.upgrade.file_changes import QueueChange, Records
from corral.planning.upgrade.report.pieces import bullets, code, paragraph, table

_LABELS_LAND = (
    "K3s sets those of its configuration at each start of a node; on any Kubernetes, a patch that `corral render` "
    "writes sets them at once, and takes off those of `removedLabels`:"
)
_MOST_FILES = 6
"""In each section; all of a large cluster are for `--files`."""
_LAST_RELEASE = "nixos/previous-channel/"
_LISTS = ("/kustomization.yaml", "/claims.yaml")


def write_architecture(upgrade: Upgrade) -> list[str]:
    """Write Part 4."""
    return [
        "## Part 4: What has to change around the GPUs",
        "",
        "### 4.1 Node labels",
        "",
        *_write_labels(upgrade),
        "### 4.2 Configuration of nodes",
        "",
        *show_node_files(upgrade),
        "### 4.3 Resource profiles",
        "",
        *_write_profiles(upgrade),
        "### 4.4 Queues",
        "",
        *_write_queues(upgrade.queues),
        "### 4.5 Services",
        "",
        *_write_adaptations(upgrade.adaptations),
        *show_service_files(upgrade),
        "### 4.6 Files",
        "",
        *_write_files(upgrade),
    ]


def _write_labels(upgrade: Upgrade) -> list[str]:
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


def _write_profiles(upgrade: Upgrade) -> list[str]:
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


def _write_queues(queues: tuple[QueueChange, ...]) -> list[str]:
    if not queues:
        return paragraph("Every queue keeps its pool.")
    return table(
        ("Queue", "Before", "After"),
        ((f"`{queue.name}`", queue.before or "-", queue.after or "gone") for queue in queues),
    )


def _write_adaptations(adaptations: tuple[Adaptation, ...]) -> list[str]:
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


def _write_files(upgrade: Upgrade) -> list[str]:
    findings = upgrade.findings
    lines = paragraph("The cluster file; comments stay where they are, and those about what changed are yours to read.")
    lines += code("diff", findings.cluster_diff) if findings.cluster_diff else paragraph("It does not change.")
    if findings.proposal_diff:
        lines += [*paragraph("What `--adapt` adds to it:"), *code("diff", findings.proposal_diff)]
    lines += bullets(_write_grouped(findings.notes))
    return lines + show_other_files(upgrade)


def _write_grouped(notes: Iterable[Note]) -> list[str]:
    """Say what several notes share once, with all their places."""
    places: dict[str, list[str]] = {}
    for note in notes:
        places.setdefault(note.what, []).append(note.where)
    return [f"{what} ({', '.join(there)})" for what, there in places.items()]


def write_schema(upgrade: Upgrade) -> list[str]:
    """Write Part 5."""
    before, after = upgrade.records_before, upgrade.records_after
    return [
        "## Part 5: Records and databases",
        "",
        "### 5.1 GPU pools",
        "",
        *_write_pools(before, after),
        "### 5.2 Workload profiles",
        "",
        *_write_workloads(after),
        "### 5.3 Databases",
        "",
        *_write_databases(before, after),
    ]


def _write_pools(before: Records, after: Records) -> list[str]:
    old = [pool for pool in before.pools if pool not in after.pools]
    new = [pool for pool in after.pools if pool not in before.pools]
    lines = table(
        ("", "Node", "Class", "GPUs", "Homogeneous", "VRAM", "Slots"),
        [_pool("before", gpu_pool) for gpu_pool in old] + [_pool("after", gpu_pool) for gpu_pool in new],
    ) or paragraph("Every pool stays as it is.")
    gone = [gpu_class for gpu_class in before.classes if gpu_class not in after.classes]
    come = [gpu_class for gpu_class in after.classes if gpu_class not in before.classes]
    notes = [f"class {gpu_pool}: no GPU of it is left; a list of allowed classes can lose it" for gpu_pool in gone]
    return lines + bullets(
        notes + [f"class {gpu_pool}: new; a list of allowed classes has to have it" for gpu_pool in come]
    )


def _pool(when: str, gpu_pool: GpuPool) -> tuple[str, ...]:
    memory = UNKNOWN if gpu_pool.total_vram is None else format_amount(gpu_pool.total_vram, "B")
    return (
        when,
        gpu_pool.node,
        gpu_pool.gpu_class,
        str(gpu_pool.count),
        "yes" if gpu_pool.homogeneous else "no",
        memory,
        str(gpu_pool.available_slots),
    )


def _write_workloads(after: Records) -> list[str]:
    if not after.workloads:
        return paragraph("The file declares no workload.")
    lines = paragraph("A workload asks for memory, and perhaps for a node; it names no GPU model.")
    return lines + code("json", _json([asdict(workload) for workload in after.workloads]))


def _json(values: Sequence[object]) -> str:
    inner = ",\n".join(f"  {json.dumps(value)}" for value in values)
    return f"[\n{inner}\n]"


def _write_databases(before: Records, after: Records) -> list[str]:
    notes = [
        "Corral's own: no migration. A pool is in the cluster file, and a task names a queue rather than a GPU.",
    ]
    if before.classes != after.classes:
        notes.append(
            "Tables of your own that store a class of GPU for a task: no SQL is given here, because Corral does not "
            "know them. First stop writing the column, then stop reading it, and drop it last, after a backup: a "
            "dropped column does not come back. A column with a node's name as its default would write today's "
            "machines into every row."
        )
    return bullets(notes)


def show_node_files(upgrade: Upgrade) -> list[str]:
    """Show how the configuration of machines changes."""
    diffs = _select_node_files(upgrade)
    if not diffs:
        return paragraph("No node that the file gives a system or a role in K3s gets another configuration.")
    note = "`corral render` writes it; on NixOS its flake applies it, elsewhere a restart of K3s."
    return [*paragraph(note), *_show(diffs)]


def show_service_files(upgrade: Upgrade) -> list[str]:
    """Show how the manifests of services change."""
    if upgrade.after.kubernetes is None:
        return []
    refused = upgrade.findings.rendered_after.refused or upgrade.findings.rendered_before.refused
    if refused:
        return paragraph(f"`corral render` writes no manifests for this file: {refused}.")
    return _show(_select_service_files(upgrade)) or paragraph("No manifest of a service changes.")


def show_other_files(upgrade: Upgrade) -> list[str]:
    """Show the other files where all were asked for; else say how to ask."""
    if not upgrade.findings.every_file:
        return paragraph("`--files` shows how every file of `corral render` changes.")
    shown = {*_take_first(_select_node_files(upgrade)), *_take_first(_select_service_files(upgrade))}
    diffs = upgrade.findings.file_diffs
    return [line for path in diffs if path not in shown for line in _show_diff(path, diffs[path])]


def _select_node_files(upgrade: Upgrade) -> Mapping[str, str]:
    diffs = upgrade.findings.file_diffs
    return {
        path: diff
        for path, diff in diffs.items()
        if path.startswith(("nixos/", "k3s/")) and not path.startswith(_LAST_RELEASE)
    }


def _select_service_files(upgrade: Upgrade) -> Mapping[str, str]:
    diffs = upgrade.findings.file_diffs
    return {
        path: diff
        for path, diff in diffs.items()
        if path.startswith(("kubernetes/overlays/", "kubernetes/jobs/")) and not path.endswith(_LISTS)
    }


def _take_first(diffs: Mapping[str, str]) -> list[str]:
    return list(diffs)[:_MOST_FILES]


def _show(diffs: Mapping[str, str]) -> list[str]:
    lines = [line for path in _take_first(diffs) for line in _show_diff(path, diffs[path])]
    rest = len(diffs) - _MOST_FILES
    return lines + (paragraph(f"{rest} more: `--files` shows every file.") if rest > 0 else [])


def _show_diff(path: str, diff: str) -> list[str]:
    return [*paragraph(f"`{path}`, with the proposals:"), *code("diff", diff)]
