"""Compares a cluster file with what it becomes: applies the changes, plans and simulates both, and compares."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corral.cluster.values import Cluster
from corral.hardware.catalogue import find_gpu
from corral.operations.cluster_file import ClusterText, open_cluster, read_cluster
from corral.operations.planning import needs_of
from corral.planning.changes import Change, Note, apply_changes
from corral.planning.placement.planner import plan
from corral.planning.placement.values import Plan
from corral.planning.upgrade import Findings, Upgrade, adapt, compare, compare_hardware, propose


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrading:
    """A cluster file, what it becomes, and the comparison."""

    before: ClusterText
    after: ClusterText
    """With the proposals when they were asked for."""
    upgrade: Upgrade


def upgrade_file(path: Path | None, changes: Sequence[Change], *, adapting: bool) -> Upgrading:
    """Compare a cluster file with itself after some changes; `adapting` writes the proposals into the new file.

    Raises: UnreadableClusterFileError, ClusterFileError, ChangesError, UneditableError.
    """
    before = open_cluster(path)
    changed = apply_changes(before.text, changes, filename=before.name, find_gpu=find_gpu)
    after = ClusterText(name=before.name, text=changed.text, cluster=changed.cluster)
    return _compared(before, after, changed.notes, adapting=adapting)


def upgrade_between(path: Path | None, other: Path) -> Upgrading:
    """Compare two cluster files, the second of which was written by hand.

    Raises: UnreadableClusterFileError, ClusterFileError.
    """
    return _compared(open_cluster(path), open_cluster(other), (), adapting=False)


def _compared(before: ClusterText, after: ClusterText, notes: tuple[Note, ...], *, adapting: bool) -> Upgrading:
    adapted = _adapted(before, after)
    if adapting:
        after = adapted
    findings = Findings(
        plans_before=_plans(before.cluster),
        plans_after=_plans(adapted.cluster),
        cluster_diff=_diff(before, after),
        notes=notes,
    )
    upgrade = compare(before.cluster, after.cluster, adapted.cluster, findings)
    return Upgrading(before=before, after=after, upgrade=upgrade)


def _adapted(before: ClusterText, after: ClusterText) -> ClusterText:
    """Write what should follow from the new cards into the new file."""
    proposals = propose(after.cluster, compare_hardware(before.cluster, after.cluster))
    if not any(proposal.edits for proposal in proposals):
        return after
    return read_cluster(adapt(after.text, proposals, filename=after.name), name=after.name)


def _plans(cluster: Cluster) -> tuple[Plan, ...]:
    needs = needs_of(cluster)
    return tuple(plan(cluster, layout, needs) for layout in list(cluster.layouts.values()) or [None])


def _diff(before: ClusterText, after: ClusterText) -> str:
    names = (f"{Path(before.name).name} (before)", f"{Path(after.name).name} (after)")
    lines = difflib.unified_diff(before.text.splitlines(), after.text.splitlines(), *names, lineterm="")
    return "\n".join(lines)
