"""Part 5 of the report: the cluster as records, and databases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from corral.hardware.pools import GpuPool
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import UNKNOWN, format_amount
from corral.planning.upgrade.file_changes import Records
from corral.planning.upgrade.report.pieces import bullets, code, paragraph, table


def schema(upgrade: Upgrade) -> list[str]:
    """Write Part 5."""
    before, after = upgrade.records_before, upgrade.records_after
    return [
        "## Part 5: Records and databases",
        "",
        "### 5.1 GPU pools",
        "",
        *_pools(before, after),
        "### 5.2 Workload profiles",
        "",
        *_workloads(after),
        "### 5.3 Databases",
        "",
        *_databases(before, after),
    ]


def _pools(before: Records, after: Records) -> list[str]:
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


def _workloads(after: Records) -> list[str]:
    if not after.workloads:
        return paragraph("The file declares no workload.")
    lines = paragraph("A workload asks for memory, and perhaps for a node; it names no GPU model.")
    return lines + code("json", _json([asdict(workload) for workload in after.workloads]))


def _json(values: Sequence[object]) -> str:
    inner = ",\n".join(f"  {json.dumps(value)}" for value in values)
    return f"[\n{inner}\n]"


def _databases(before: Records, after: Records) -> list[str]:
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
