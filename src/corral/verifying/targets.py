"""Judges the targets of a Prometheus: those that the rendered dashboards and alerts need, of each node or in all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from corral.deploying.objects import LayoutObjects
from corral.diagnosis.objects import get_map
from corral.rendering.prometheus import jobs
from corral.rendering.prometheus.targets import PROMETHEUS, find_targets
from corral.verifying.values import Check, Mark, Subject
from corral.work import Json

_OF_NODES = (jobs.DCGM, jobs.NODE)
_NAME = "dashboards"


def judge_targets(text: str, asked: str, wanted: LayoutObjects) -> tuple[Check, ...]:
    """Judge what `/api/v1/targets` of a Prometheus answers."""
    try:
        answer: Json = json.loads(text)
        active: Sequence[Json] = answer["data"]["activeTargets"]
    except (ValueError, KeyError, TypeError):
        what = "the list of targets cannot be read"
        fix = "check that Prometheus answers at port 9090"
        return (_make(Mark.UNKNOWN, what, (asked, text[:200]), fix),)
    problems = [*_find_problems(active, wanted)]
    up = sum(target.get("health") == "up" for target in active)
    if not problems:
        return (_make(Mark.OK, f"{up} targets up", (asked,), None),)
    return tuple(_make(Mark.BAD, what, (asked, *evidence), fix) for what, evidence, fix in problems)


def list_watching_namespaces(wanted: LayoutObjects) -> tuple[str, ...]:
    """List the namespaces in which a Prometheus can watch a layout: others are kept away by its network policies."""
    return tuple(dict.fromkeys((*wanted.namespaces, find_targets((wanted.installation,)).namespace)))


def judge_absence(wanted: LayoutObjects) -> Check | None:
    """Judge a cluster without a Prometheus: bad where the file has one, and no check where it has none."""
    if PROMETHEUS not in wanted.installation.cluster.services:
        return None
    fix = "corral render --only addons --out out && kubectl apply -f out/addons/prometheus.yaml"
    return _make(Mark.BAD, "no Prometheus runs, and the cluster file has one", (), fix)


def _find_problems(active: Sequence[Json], wanted: LayoutObjects) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Find the targets that are down, and those that are not there: what was seen of it, and the fix."""
    targets = find_targets((wanted.installation,))
    by_job: dict[str, list[Json]] = {}
    for target in active:
        by_job.setdefault(_read_labels(target).get("job", ""), []).append(target)
    nodes = [node.name for node in wanted.installation.cluster.kubernetes_nodes]
    with_gpus = [node.name for node in targets.gpu_nodes if node.name in nodes]
    for job in jobs.list_jobs(targets):
        name: str = job["job_name"]
        if name == jobs.CORRAL and not targets.servers:
            continue
        known = by_job.get(name, [])
        for node in (with_gpus if name == jobs.DCGM else nodes) if name in _OF_NODES else ():
            if not any(_read_labels(target).get("node") == node for target in known):
                yield f"{name} on {node} is not scraped", (), "corral render --only prometheus"
        if name not in _OF_NODES and not known:
            yield f"{name} is not scraped", (), "corral render --only prometheus"
        for target in known:
            if target.get("health") != "up":
                yield _describe(name, target)


def _describe(job: str, target: Json) -> tuple[str, tuple[str, ...], str]:
    labels = _read_labels(target)
    where = labels.get("node") or labels.get("instance") or target.get("scrapeUrl", "")
    error = target.get("lastError") or target.get("health", "unknown")
    evidence = f"target {target.get('scrapeUrl', '')} lastError: {error}"
    return f"{job} on {where} is down: {error}", (evidence,), "corral doctor --kubernetes"


def _read_labels(target: Json) -> Mapping[str, str]:
    return get_map(target, "labels")


def _make(mark: Mark, what: str, evidence: tuple[str, ...], fix: str | None) -> Check:
    return Check(subject=Subject.TARGETS, name=_NAME, mark=mark, what=what, evidence=evidence, fix=fix)
