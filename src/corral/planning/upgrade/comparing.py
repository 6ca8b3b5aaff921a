"""Puts the parts of an upgrade together: from two clusters, and from what others have worked out about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from corral.cluster.values import Cluster
from corral.planning.changes import GpuMoves, Note
from corral.planning.checklist import Checklist, Outlook, make_checklist
from corral.planning.labels import label_cluster
from corral.planning.placement.values import Plan
from corral.planning.upgrade.adaptations import Adaptation, propose
from corral.planning.upgrade.advice import Evidence, Recommendation, advise
from corral.planning.upgrade.capacity import Capacity, compare_capacity
from corral.planning.upgrade.choices import (
    Distribution,
    ServiceChoice,
    Survival,
    compare_choices,
    compare_plans,
    compare_redundancy,
    list_shared_dependencies,
)
from corral.planning.upgrade.corrections import Correction, Situation, find_corrections
from corral.planning.upgrade.file_changes import (
    AgentFlags,
    NodeLabels,
    QueueChange,
    Records,
    Unchanged,
    compare_agent_flags,
    compare_labels,
    compare_queues,
    find_unchanged,
    make_records,
)
from corral.planning.upgrade.hardware import Hardware, compare_hardware
from corral.planning.upgrade.power import PowerComparison, compare_power
from corral.planning.upgrade.throughput import Throughput
from corral.planning.upgrade.uniformity import Complexity, Uniformity, compare_complexity, compare_uniformity
from corral.rendering.configuration import UNKNOWN_CONFIGURATION, Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Facts that other packages have worked out about the two clusters; empty when they did not."""

    plans_before: tuple[Plan, ...] = ()
    plans_after: tuple[Plan, ...] = ()
    throughput: tuple[Throughput, ...] = ()
    cluster_diff: str = ""
    """Of the cluster file, unified."""
    proposal_diff: str = ""
    """From the new cluster file to the one with the proposals; empty when there are none, or when it has them."""
    file_diffs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the files that are written from it, with the proposals: path to unified diff."""
    every_file: bool = False
    """Whether `file_diffs` has all of them, and not only those about nodes and services."""
    rendered_before: Configuration = UNKNOWN_CONFIGURATION
    rendered_after: Configuration = UNKNOWN_CONFIGURATION
    """With the proposals."""
    moves: GpuMoves | None = None
    """Where each GPU goes; None when only the two files are known."""
    notes: tuple[Note, ...] = ()
    """Changes of the cluster file other than the GPUs, and what to look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """Everything that the report says."""

    before: Cluster
    after: Cluster
    adapted: Cluster
    """`after` with the proposed adaptations: what plans, queues and throughput "after" are about."""
    hardware: Hardware
    power: tuple[PowerComparison, ...]
    complexity: tuple[Complexity, ...]
    labels: tuple[NodeLabels, ...]
    agent_flags: tuple[AgentFlags, ...]
    choices: tuple[ServiceChoice, ...]
    distribution: tuple[Distribution, ...]
    uniformity: tuple[Uniformity, ...]
    capacity: tuple[Capacity, ...]
    survivals: tuple[Survival, ...]
    leans_on: tuple[str, ...]
    """Network volumes that services share, with who exports them."""
    queues: tuple[QueueChange, ...]
    adaptations: tuple[Adaptation, ...]
    records_before: Records
    records_after: Records
    unchanged: Unchanged
    checklist: Checklist
    corrections: tuple[Correction, ...]
    recommendation: Recommendation
    findings: Findings


def compare(before: Cluster, after: Cluster, adapted: Cluster, findings: Findings) -> Upgrade:
    """Compare two clusters; `adapted` is `after` with the adaptations of `propose` written into it."""
    evidence = _gather_evidence(before, after, adapted, findings)
    carried = label_cluster(before), label_cluster(after)
    labels = compare_labels(*carried)
    forecasts = tuple(workload.after for workload in findings.throughput if workload.after is not None)
    outlook = Outlook(forecasts=forecasts, before=findings.rendered_before, after=findings.rendered_after)
    return Upgrade(
        before=before,
        after=after,
        adapted=adapted,
        hardware=evidence.hardware,
        power=evidence.power,
        complexity=compare_complexity(before, adapted, evidence.hardware),
        labels=labels,
        agent_flags=compare_agent_flags(*carried),
        choices=evidence.choices,
        distribution=evidence.distribution,
        uniformity=evidence.uniformity,
        capacity=evidence.capacity,
        survivals=evidence.survivals,
        leans_on=list_shared_dependencies(after),
        queues=compare_queues(before, adapted),
        adaptations=evidence.adaptations,
        records_before=make_records(before),
        records_after=make_records(adapted),
        unchanged=find_unchanged(
            before, adapted, moved={name for layout in evidence.distribution for name in layout.moved}
        ),
        checklist=make_checklist(before, adapted, outlook),
        corrections=find_corrections(
            Situation(
                before=before, after=adapted, hardware=evidence.hardware, labels=labels, capacity=evidence.capacity
            )
        ),
        recommendation=advise(evidence),
        findings=findings,
    )


def _gather_evidence(before: Cluster, after: Cluster, adapted: Cluster, findings: Findings) -> Evidence:
    """The reasons of the recommendation."""
    hardware = compare_hardware(before, after, findings.moves)
    choices = compare_choices(before, adapted)
    return Evidence(
        hardware=hardware,
        power=compare_power(before, after, hardware),
        capacity=compare_capacity(before, after, hardware),
        choices=choices,
        distribution=compare_plans(findings.plans_before, findings.plans_after),
        survivals=compare_redundancy(choices),
        uniformity=compare_uniformity(hardware),
        throughput=findings.throughput,
        adaptations=propose(after, hardware),
    )
