"""The services of a layout on a cluster: wanted, there, ready, where, and why not; events condensed to a cause."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from corral.deploying.objects import LayoutObjects
from corral.deploying.order import DEPLOYMENT, EVENT, POD, STATEFUL_SET
from corral.deploying.state import PART_OF
from corral.narrowing import as_object
from corral.rendering.installation import Deployed
from corral.rendering.kubernetes.objects import READY_REPLICAS, name_workload
from corral.rendering.kubernetes.workloads import group_by_pod
from corral.snapshot import Kind, ObjectKey, Snapshot
from corral.work import Json

REPLICA_SET = Kind("apps", "ReplicaSet")
OBSERVED = (DEPLOYMENT, STATEFUL_SET, REPLICA_SET, POD, EVENT)
"""The kinds of objects that show how services fare."""
_NAME = "app.kubernetes.io/name"
_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_LONGEST = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHealth:
    """A service on a cluster."""

    services: tuple[str, ...]
    """The services of the pod, by their names in the file."""
    workloads: tuple[str, ...]
    """`StatefulSet ai/comfyui`; one for each replica where the service lends its GPUs."""
    wanted: int
    """Replicas; 0 where it runs on demand."""
    there: int
    ready: int
    standing_by: int
    """Replicas that are not ready since another one leads, which is how it is meant."""
    nodes: tuple[str, ...]
    causes: tuple[str, ...]
    """Why fewer are ready than wanted; empty where all are, or where nothing says why."""

    @property
    def is_well(self) -> bool:
        """Whether as many replicas are ready as are wanted, or stand by for one that is."""
        return self.ready + self.standing_by >= self.wanted


def judge_services(wanted: LayoutObjects, snapshot: Snapshot) -> tuple[ServiceHealth, ...]:
    """Judge each service of a layout, in the order of the file."""
    return tuple(_judge(wanted, snapshot, members) for members in group_by_pod(wanted.installation))


def list_pods(wanted: LayoutObjects, snapshot: Snapshot, namespace: str, workload: str) -> tuple[Json, ...]:
    """List the pods of a workload."""
    labels = {_NAME: workload, PART_OF: wanted.cluster}
    return tuple(
        pod
        for pod in snapshot.list(POD.name, namespace)
        if labels.items() <= (pod["metadata"].get("labels") or {}).items()
    )


def _judge(wanted: LayoutObjects, snapshot: Snapshot, members: Sequence[Deployed]) -> ServiceHealth:
    name, namespace = name_workload(members[0]), members[0].namespace
    applied = [value for value in wanted.objects if _makes_pods_of(value, name, namespace)]
    keys = [ObjectKey.read(value) for value in applied]
    live = [snapshot.objects.get(key) for key in keys]
    pods = list_pods(wanted, snapshot, namespace, name)
    newest = [there or value for there, value in zip(live, applied, strict=True)]
    replicas = sum(value["spec"].get("replicas", 1) for value in newest)
    needed = sum(map(count_ready_wanted, newest))
    ready = sum(_is_ready(pod) for pod in pods)
    causes = [] if ready >= needed else list(find_causes(snapshot, live, pods))
    return ServiceHealth(
        services=tuple(member.service.name for member in members),
        workloads=tuple(map(str, keys)),
        wanted=replicas,
        there=len(pods),
        ready=ready,
        standing_by=min(replicas - needed, len(pods) - ready) if ready >= needed else 0,
        nodes=tuple(dict.fromkeys(pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName"))),
        causes=tuple(dict.fromkeys(causes)),
    )


def count_ready_wanted(workload: Json) -> int:
    """Count the replicas of a workload that are ready when all is well: of servers that stand by for each other one."""
    replicas: int = workload["spec"].get("replicas", 1)
    annotations: dict[str, str] = workload["metadata"].get("annotations") or {}
    most = annotations.get(READY_REPLICAS)
    return replicas if most is None else min(replicas, int(most))


def _makes_pods_of(value: Json, name: str, namespace: str) -> bool:
    """Return whether an object is a workload of a service; one that lends its GPUs has one for each replica."""
    if Kind.read(value) not in (DEPLOYMENT, STATEFUL_SET) or value["metadata"]["namespace"] != namespace:
        return False
    return value["spec"]["template"]["metadata"]["labels"].get(_NAME) == name


def _is_ready(pod: Json) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    return _find_condition(pod, "Ready").get("status") == "True"


def list_pods_of(workload: Json, snapshot: Snapshot) -> tuple[Json, ...]:
    """List the pods that a Deployment or StatefulSet selects."""
    labels: Mapping[str, str] = workload["spec"]["selector"]["matchLabels"]
    return tuple(
        pod
        for pod in snapshot.list(POD.name, workload["metadata"]["namespace"])
        if labels.items() <= (pod["metadata"].get("labels") or {}).items()
    )


def find_causes(snapshot: Snapshot, live: Sequence[Json | None], pods: Sequence[Json]) -> Iterator[str]:
    """Find why pods of workloads are not ready; None is a workload that is not there."""
    for workload in live:
        if workload is None:
            yield "not applied: corral apply"
        elif workload["spec"].get("replicas", 1) and not _count_pods(workload):
            yield from _find_causes_without_pods(snapshot, workload)
    for pod in pods:
        if not _is_ready(pod):
            yield from _find_causes_of_pod(snapshot, pod)


def _count_pods(workload: Json) -> int:
    return workload.get("status", {}).get("replicas", 0)


def _find_causes_of_pod(snapshot: Snapshot, pod: Json) -> Iterator[str]:
    name = pod["metadata"]["name"]
    if pod["metadata"].get("deletionTimestamp"):
        yield f"{name} is ending"
        return
    gates = [gate["name"] for gate in pod["spec"].get("schedulingGates") or ()]
    if gates:
        yield f"{name} waits for {', '.join(gates)}"
        return
    scheduled = _find_condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield f"{name} has no node: {shorten(scheduled.get('message', ''))}"
        return
    status = pod.get("status", {})
    if status.get("reason") in ("NodeLost", "Evicted"):
        yield f"{name}: {status['reason']}: {shorten(status.get('message', ''))}"
        return
    states: Sequence[Json] = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    causes = [cause for state in states if (cause := _find_cause_of_container(state))]
    events = [_describe_event(event) for event in snapshot.list_events(pod) if event.get("type") == "Warning"]
    if causes:
        yield from (f"{name}: {cause}" for cause in causes)
    elif events:
        yield f"{name}: {events[-1]}"
    elif _find_condition(pod, "Ready").get("message"):
        yield f"{name}: {shorten(_find_condition(pod, 'Ready')['message'])}"
    else:
        yield f"{name} starts"


def _find_cause_of_container(state: Json) -> str | None:
    name, kinds = state["name"], as_object(state.get("state"))
    waiting = as_object(kinds.get("waiting"))
    reason = waiting.get("reason")
    last = as_object(as_object(state.get("lastState")).get("terminated") or kinds.get("terminated"))
    if reason in _PULLING:
        return f"image {state['image']} cannot be pulled: {shorten(waiting.get('message', reason))}"
    if reason == "CrashLoopBackOff" or (last and last.get("exitCode")):
        why = "out of memory (OOMKilled)" if last.get("reason") == "OOMKilled" else f"exit code {last.get('exitCode')}"
        return f"container {name} ended {state.get('restartCount', 0) + bool(kinds.get('terminated'))} times: {why}"
    if reason and reason not in ("ContainerCreating", "PodInitializing"):
        return f"container {name}: {reason}: {shorten(waiting.get('message', ''))}"
    return None


def _find_causes_without_pods(snapshot: Snapshot, live: Json) -> Iterator[str]:
    """Find why a workload has no pods: a quota, an admission webhook."""
    owners = [live, *(child for child in snapshot.list(REPLICA_SET.name) if _is_child(child, live))]
    for condition in live.get("status", {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            yield shorten(condition.get("message", ""))
            return
    for owner in owners:
        failures = [event for event in snapshot.list_events(owner) if event.get("reason") == "FailedCreate"]
        if failures:
            yield shorten(failures[-1].get("message", ""))
            return
    yield "no pod was made yet"


def _is_child(child: Json, owner: Json) -> bool:
    references: Sequence[Mapping[str, Json]] = child["metadata"].get("ownerReferences") or ()
    return any(reference["uid"] == owner["metadata"].get("uid") for reference in references)


def _find_condition(pod: Json, kind: str) -> Mapping[str, str]:
    conditions: Sequence[Mapping[str, str]] = pod.get("status", {}).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == kind), dict[str, str]())


def _describe_event(event: Json) -> str:
    return f"{event.get('reason', '')}: {shorten(event.get('message', ''))}"


def shorten(message: str) -> str:
    """Shorten the message of an event: without hints on preemption, addresses of registries and white space."""
    text = " ".join(message.split())
    text = re.sub(r"\.? preemption: .*", "", text)
    text = re.sub(r"rpc error: code = \w+ desc = ", "", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
