"""Part 5 of the report: the cluster as records, and databases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from corral.hardware.pools import GpuPool
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import UNKNOWN, amount
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
        [_pool("before", one) for one in old] + [_pool("after", one) for one in new],
    ) or paragraph("Every pool stays as it is.")
    gone = [one for one in before.classes if one not in after.classes]
    come = [one for one in after.classes if one not in before.classes]
    told = [f"class {one}: no card of it is left; a list of allowed classes can lose it" for one in gone]
    return lines + bullets(told + [f"class {one}: new; a list of allowed classes has to have it" for one in come])


def _pool(when: str, one: GpuPool) -> tuple[str, ...]:
    memory = UNKNOWN if one.total_vram is None else amount(one.total_vram, "B")
    return (
        when,
        one.node,
        one.gpu_class,
        str(one.count),
        "yes" if one.homogeneous else "no",
        memory,
        str(one.available_slots),
    )


def _workloads(after: Records) -> list[str]:
    if not after.workloads:
        return paragraph("The file declares no workload.")
    lines = paragraph("A workload asks for memory, and perhaps for a node; it names no model of card.")
    return lines + code("json", _json([asdict(one) for one in after.workloads]))


def _json(values: Sequence[object]) -> str:
    inner = ",\n".join(f"  {json.dumps(value)}" for value in values)
    return f"[\n{inner}\n]"


def _databases(before: Records, after: Records) -> list[str]:
    told = [
        "Corral's own: no migration. A pool stands in the cluster file, and a task names a queue rather than a card.",
    ]
    if before.classes != after.classes:
        told.append(
            "Tables of your own that store a class of card for a task: no SQL is given here, because nobody has seen "
            "them. First stop writing the column, then stop reading it, and drop it last, after a backup: a dropped "
            "column does not come back. A column with a node's name as its default would write today's machines into "
            "every row."
        )
    return bullets(told)
