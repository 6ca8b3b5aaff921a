"""Examines a Kubernetes cluster: one snapshot, the answers of containers that have trouble or a GPU, diagnoses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from corral.cluster.values import Cluster
from corral.diagnosis.case import Case
from corral.diagnosis.diagnosing import KINDS, diagnose
from corral.diagnosis.questions import list_questions
from corral.diagnosis.values import Answers, ContainerKey, Finding, Printed, Questions
from corral.errors import CorralError
from corral.kubernetes.errors import RefusedError
from corral.operations.cluster_file import FileText, check_cluster

if TYPE_CHECKING:
    from corral.kubernetes.api import Api

_LOG_LINES = 400
"""The end of a log: the last load of a model and what followed."""
_ANSWER_S = 15.0
"""A container that does not answer within this time is not asked again."""
_AT_ONCE = 8
_NVIDIA_SMI = ("nvidia-smi", "-L")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEvidence:
    """A value that a finding is concluded from."""

    object: str
    """`Pod ai/comfyui-0`."""
    place: str
    """The path of a field, or `event REASON`, `log of CONTAINER`, `nvidia-smi in CONTAINER`."""
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFinding:
    """A pitfall that the cluster is in."""

    id: str
    """That of its rule or of its row in the table of symptoms: `A02`, `K18`."""
    name: str
    severity: str
    object: str
    cause: str
    evidence: tuple[ShownEvidence, ...]
    fix: str
    """One imperative, or a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnjudgedPitfall:
    """A pitfall that was not looked for, with the reason."""

    id: str
    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDoctorAnswer:
    """The findings on a Kubernetes cluster, the worst first."""

    context: str
    """The context of the kubeconfig."""
    version: str
    """The API server's version."""
    items: tuple[ClusterFinding, ...]
    unjudged: tuple[UnjudgedPitfall, ...]
    """Pitfalls whose objects cannot be read with these credentials."""
    unread: Mapping[str, str]
    """Kinds of objects that cannot be read, with the API server's reason."""
    unanswered: tuple[str, ...]
    """Containers whose log or GPUs could not be asked for."""
    objects: int
    """Objects that were read."""


async def examine_cluster(
    context: str | None, kubeconfig: Path | None, cluster: FileText | None
) -> ClusterDoctorAnswer:
    """Examine a Kubernetes cluster; with a cluster file, compare the cluster with it too.

    Raises: NoClusterError, UnreachableError, ForbiddenError, ClusterFileError.
    """
    from corral.kubernetes.api import open_api  # a fifth of a second, for this alone

    known = None if cluster is None else check_cluster(cluster).cluster
    async with open_api(context, kubeconfig) as api:
        return await _examine(api, known)


async def _examine(api: Api, cluster: Cluster | None) -> ClusterDoctorAnswer:
    snapshot = await api.observe(KINDS)
    answers, unanswered = await _ask(api, list_questions(snapshot))
    diagnoses = diagnose(Case(snapshot=snapshot, answers=answers, cluster=cluster))
    return ClusterDoctorAnswer(
        context=api.context,
        version=snapshot.version,
        items=tuple(map(_show_finding, diagnoses.findings)),
        unjudged=tuple(
            UnjudgedPitfall(id=entry.pitfall.id, name=entry.pitfall.name, why=entry.why) for entry in diagnoses.unjudged
        ),
        unread={str(kind): why for kind, why in snapshot.unread.items()},
        unanswered=unanswered,
        objects=len(snapshot.objects),
    )


async def _ask(api: Api, questions: Questions) -> tuple[Answers, tuple[str, ...]]:
    """Ask containers; those that do not answer are named."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def read_log(container: ContainerKey) -> str:
        where = (container.namespace, container.pod, container.name)
        log = await api.read_log(*where, lines=_LOG_LINES)
        if log.strip():
            return log
        try:  # a container that was started again has its reasons in the log before
            return await api.read_log(*where, lines=_LOG_LINES, previous=True)
        except RefusedError:
            return log  # it was not

    async def list_gpus(container: ContainerKey) -> Printed:
        where = (container.namespace, container.pod, container.name)
        answer = await api.run_inside(*where, _NVIDIA_SMI, deadline_s=_ANSWER_S)
        return Printed(exit_code=answer.exit_code, text=_decode(answer.stdout) + _decode(answer.stderr))

    logs, gpus = await asyncio.gather(
        _ask_all(questions.logs, read_log, gate), _ask_all(questions.gpus, list_gpus, gate)
    )
    asked = [(logs, key) for key in questions.logs] + [(gpus, key) for key in questions.gpus]
    silent = dict.fromkeys(str(key) for answers, key in asked if key not in answers)
    return Answers(logs=logs, gpus=gpus), tuple(silent)


async def _ask_all(
    containers: Iterable[ContainerKey],
    ask: Callable[[ContainerKey], Awaitable[_Answer]],
    gate: asyncio.Semaphore,
) -> dict[ContainerKey, _Answer]:
    answers: dict[ContainerKey, _Answer] = {}

    async def ask_container(container: ContainerKey) -> None:
        async with gate:
            try:
                answers[container] = await asyncio.wait_for(ask(container), _ANSWER_S)
            except (CorralError, TimeoutError):
                return  # it is named among those without an answer

    await asyncio.gather(*map(ask_container, containers))
    return answers


def _decode(printed: str | bytes | None) -> str:
    return printed.decode(errors="replace") if isinstance(printed, bytes) else printed or ""


def _show_finding(finding: Finding) -> ClusterFinding:
    evidence = (
        ShownEvidence(object=str(entry.object), place=entry.place, value=entry.value) for entry in finding.evidence
    )
    return ClusterFinding(
        id=finding.pitfall.id,
        name=finding.pitfall.name,
        severity=finding.pitfall.severity.value,
        object=str(finding.subject),
        cause=finding.cause,
        evidence=tuple(evidence),
        fix=finding.fix,
    )
