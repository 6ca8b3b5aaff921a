"""Makes all diagnoses of a case, the worst findings first."""

from __future__ import annotations

from collections.abc import Mapping

from corral.diagnosis import (
    admission,
    gpu_requests,
    gpus,
    images,
    kueue,
    networking,
    nodes,
    processes,
    scheduling,
    storage,
)
from corral.diagnosis.case import Case
from corral.diagnosis.configured import LIVE_RULES, find_configured
from corral.diagnosis.registry import Diagnosis
from corral.diagnosis.values import Diagnoses, Finding, Unjudged
from corral.linting.values import Severity
from corral.snapshot import Kind

SUBJECTS = {
    "Pods that wait for the scheduler": scheduling,
    "GPUs that pods ask for": gpu_requests,
    "GPUs that containers get": gpus,
    "Processes and probes": processes,
    "Images": images,
    "Services and networks": networking,
    "Volumes": storage,
    "Nodes": nodes,
    "Kueue": kueue,
    "Refused pods and missing settings": admission,
}
"""The modules of diagnoses, by their subject."""
DIAGNOSES: tuple[Diagnosis, ...] = tuple(
    diagnosis for module in SUBJECTS.values() for diagnosis in vars(module).values() if isinstance(diagnosis, Diagnosis)
)
_NAMES = (
    *(("", name) for name in ("ConfigMap", "Event", "Namespace", "Node", "PersistentVolume", "PersistentVolumeClaim")),
    *(("", name) for name in ("Pod", "Service")),
    *(("apps", name) for name in ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")),
    *(("batch", name) for name in ("CronJob", "Job")),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("discovery.k8s.io", "EndpointSlice"),
    *(("kueue.x-k8s.io", name) for name in ("ClusterQueue", "LocalQueue", "ResourceFlavor", "Workload")),
    ("networking.k8s.io", "NetworkPolicy"),
    ("node.k8s.io", "RuntimeClass"),
    ("policy", "PodDisruptionBudget"),
    *(("resource.k8s.io", name) for name in ("DeviceClass", "ResourceClaim", "ResourceSlice")),
    ("storage.k8s.io", "StorageClass"),
)
KINDS: tuple[Kind, ...] = tuple(Kind(group, name) for group, name in _NAMES)
"""The kinds that diagnoses look at. Secrets are not among them."""
_GENERAL: Mapping[str, tuple[str, ...]] = {"K01": ("H04",), "K16": ()}
"""Findings that are left out where another has their cause: one of these, or any on the same object."""
_ORDER = (Severity.ERROR, Severity.WARNING, Severity.NOTE)


def diagnose(case: Case) -> Diagnoses:
    """Make all diagnoses; those whose kinds could not be read are listed as not made."""
    unread = {kind.name: why for kind, why in case.snapshot.unread.items()}
    findings: list[Finding] = []
    unjudged: list[Unjudged] = []
    for diagnosis in DIAGNOSES:
        missing = [name for name in diagnosis.reads if name in unread]
        if missing:
            unjudged.append(Unjudged(pitfall=diagnosis.pitfall, why=unread[missing[0]]))
        else:
            findings += diagnosis.run(case)
    seen = {(finding.pitfall.id, case_subject(case, finding)) for finding in findings}
    findings += (
        finding for finding in find_configured(case) if (finding.pitfall.id, case_subject(case, finding)) not in seen
    )
    kept = (finding for finding in findings if not _is_explained(finding, findings))
    return Diagnoses(findings=tuple(sorted(kept, key=_make_sort_key)), unjudged=tuple(unjudged))


def _is_explained(finding: Finding, findings: list[Finding]) -> bool:
    """Return whether another finding on the same object has the cause of a general one."""
    causes = _GENERAL.get(finding.pitfall.id)
    return causes is not None and any(
        other.subject == finding.subject and (other.pitfall.id in causes or (not causes and other is not finding))
        for other in findings
    )


def list_pitfalls() -> dict[str, str]:
    """List the ids of all pitfalls that are looked for, each with what is looked at."""
    looked_at: dict[str, str] = {}
    for diagnosis in DIAGNOSES:
        looked_at[diagnosis.pitfall.id] = diagnosis.evidence
    for rule, evidence in LIVE_RULES.items():
        looked_at[rule] = "; ".join(filter(None, (looked_at.get(rule), evidence)))
    return dict(sorted(looked_at.items()))


def case_subject(case: Case, finding: Finding) -> str:
    """Return the workload that a finding is about: a symptom of its pod is the same as one of itself."""
    value = case.snapshot.objects.get(finding.subject)
    if value is None:
        return str(finding.subject)
    workload = case.find_workload(value)
    return f"{workload['kind']} {workload['metadata'].get('namespace', '')}/{workload['metadata']['name']}"


def _make_sort_key(finding: Finding) -> tuple[object, ...]:
    return _ORDER.index(finding.pitfall.severity), finding.pitfall.id, finding.subject, finding.cause
