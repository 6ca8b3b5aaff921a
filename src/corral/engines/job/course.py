"""How far an attempt is, by the state of its Job, its workload and its pods: values in, a value out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from corral.engines.job.inputs import CONTAINER
from corral.work import Json

_HOPELESS = ("InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "ErrImagePull", "ImagePullBackOff")
"""Reasons for which a container waits that seldom pass by themselves, in the kubelet's words."""


class Phase(Enum):
    """How far a Job is."""

    WAITING = auto()
    """Kueue has no quota for it, or its pods no node."""
    STARTING = auto()
    """A pod is bound to its node, and its container does not run: the image is pulled, a volume mounted."""
    RUNNING = auto()
    SUCCEEDED = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How far a Job is, and why."""

    phase: Phase
    note: str = ""
    """A few words in the cluster's own."""
    is_stuck: bool = False
    """Whether it waits for what seldom passes by itself: an image that cannot be pulled."""


def read_course(job: Json, pods: Iterable[Json], workload: Json | None) -> Course:
    """Read how far a Job is. `workload` is Kueue's, None while there is none."""
    for condition in _list_conditions(job):
        if condition["status"] == "True" and condition["type"] in ("Complete", "SuccessCriteriaMet"):
            return Course(phase=Phase.SUCCEEDED)
        if condition["status"] == "True" and condition["type"] == "Failed":
            return Course(phase=Phase.FAILED, note=_explain_failure(condition, list(pods)))
    live = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    if job["spec"].get("suspend"):
        return Course(phase=Phase.WAITING, note=_explain_quota(workload))
    unbound = [pod for pod in live if not pod["spec"].get("nodeName")]
    if unbound or not live:
        return Course(phase=Phase.WAITING, note=_explain_unbound(unbound))
    pending = [pod for pod in live if pod["status"].get("phase") == "Pending" and not _has_begun(pod)]
    if pending:
        return _read_start(pending[0])
    return Course(phase=Phase.RUNNING, note="runs on " + ", ".join(sorted({pod["spec"]["nodeName"] for pod in live})))


def _has_begun(pod: Json) -> bool:
    """Return whether the image of the task runs, or has run, as an init container: files are delivered after it."""
    statuses: list[Json] = pod["status"].get("initContainerStatuses") or []
    return any(status["name"] == CONTAINER and "waiting" not in status["state"] for status in statuses)


def _explain_quota(workload: Json | None) -> str:
    for condition in _list_conditions(workload):
        if condition["type"] == "QuotaReserved" and condition["status"] != "True":
            return f"Kueue: {condition['message']}"
    return "waits for Kueue"


def _explain_unbound(pods: list[Json]) -> str:
    for pod in pods:
        for condition in _list_conditions(pod):
            if condition["type"] == "PodScheduled" and condition["status"] != "True":
                return f"no node: {condition.get('message', 'unknown')}"
    return "waits for its pods"


def _read_start(pod: Json) -> Course:
    node = pod["spec"]["nodeName"]
    for container in _list_containers(pod):
        waiting: Json = container["state"].get("waiting") or {}
        reason: str = waiting.get("reason", "")
        if reason in _HOPELESS:
            note = f"{node}: {reason}: {waiting.get('message', container['image'])}"
            return Course(phase=Phase.STARTING, note=note, is_stuck=True)
    return Course(phase=Phase.STARTING, note=f"starts on {node}")


def _explain_failure(condition: Json, pods: list[Json]) -> str:
    """Explain a failure by its first container that failed, else by the Job's own words."""
    for pod in sorted(pods, key=lambda pod: pod["metadata"].get("creationTimestamp", "")):
        for container in _list_containers(pod):
            ended = container["state"].get("terminated")
            if ended and ended["exitCode"] != 0:
                reason = ended.get("reason", "Error")
                what = (
                    f"exit code {ended['exitCode']}"
                    if reason == "Error"
                    else f"{reason}, exit code {ended['exitCode']}"
                )
                return f"{what} on {pod['spec'].get('nodeName', 'an unknown node')}"
        if pod["status"].get("phase") == "Failed" and pod["status"].get("message"):
            return f"{pod['status'].get('reason', 'Failed')}: {pod['status']['message']}"
    return f"{condition.get('reason', 'Failed')}: {condition.get('message', '')}"


def _list_conditions(value: Json) -> list[Json]:
    status: Json = {} if value is None else value.get("status")
    return status.get("conditions") or [] if status else []


def _list_containers(pod: Json) -> list[Json]:
    inits: list[Json] = pod["status"].get("initContainerStatuses") or []
    return [*inits, *(pod["status"].get("containerStatuses") or ())]
