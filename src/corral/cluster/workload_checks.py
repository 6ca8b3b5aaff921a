"""Checks workloads: what they name exists, and their durations are of GPU models that the catalogue knows."""

from __future__ import annotations

from corral.cluster.document import Path
from corral.cluster.gpu_facts import FindGpu, GpuFacts
from corral.cluster.node_checks import look_up
from corral.cluster.references import References
from corral.engine_kinds import SERVICE_ENGINES


def check_workloads(references: References, find_gpu: FindGpu | None) -> dict[Path, GpuFacts]:
    """Check all workloads; return the catalogue's answer for every GPU model that a duration names, by its path."""
    workloads = references.shape.workloads
    references.unique(((("workloads", i, "name"), one.name) for i, one in enumerate(workloads)), "a workload")
    answers: dict[Path, GpuFacts] = {}
    for index, workload in enumerate(workloads):
        at: Path = ("workloads", index)
        references.known(workload.engine, SERVICE_ENGINES, "engine", (*at, "engine"))
        references.known(workload.service, references.services, "service", (*at, "service"))
        references.known(workload.prefer_node, references.nodes, "node", (*at, "preferNode"))
        for model in workload.durations if find_gpu else ():
            here = (*at, "durations", model)
            if find_gpu and (facts := look_up(model, None, here, references, find_gpu)):
                answers[here] = facts
    return answers
