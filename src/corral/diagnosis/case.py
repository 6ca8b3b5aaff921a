"""The input of all diagnoses: a snapshot, the answers of containers and the cluster file, with shared look-ups."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from corral.cluster.values import Cluster
from corral.diagnosis.matching import parse_quantity
from corral.diagnosis.objects import get_list, get_map, get_text
from corral.diagnosis.values import Answers, ContainerKey, Evidence
from corral.narrowing import as_object
from corral.snapshot import ObjectKey, Snapshot
from corral.work import Json

GPU = "nvidia.com/gpu"
"""The resource of NVIDIA's device plugin."""
_WANTED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "DaemonSet": ("desiredNumberScheduled", ("currentNumberScheduled",)),
    "Job": ("parallelism", ("active", "succeeded", "failed")),
    "ReplicaSet": ("replicas", ("replicas",)),
    "StatefulSet": ("replicas", ("replicas",)),
}
"""The field with the number of pods that is wanted (of the specification, else of the status), and those that are."""
_TEMPLATES = {"CronJob": ("jobTemplate", "spec", "template", "spec")}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A cluster that is diagnosed."""

    snapshot: Snapshot
    answers: Answers = field(default_factory=Answers)
    cluster: Cluster | None = None
    """The cluster file; None when none was given."""

    @cached_property
    def nodes(self) -> tuple[Json, ...]:
        """All nodes."""
        return self.snapshot.list("Node")

    @cached_property
    def pods(self) -> tuple[Json, ...]:
        """Pods that run or should run; those that ended are not among them."""
        return tuple(pod for pod in self.snapshot.list("Pod") if get_phase(pod) not in ("Succeeded", "Failed"))

    @cached_property
    def pending(self) -> tuple[Json, ...]:
        """Pods that the scheduler cannot place."""
        return tuple(pod for pod in self.pods if find_condition(pod, "PodScheduled", "False", "Unschedulable"))

    @cached_property
    def free_gpus(self) -> Mapping[str, int]:
        """GPUs of the device plugin that no pod has, by the name of their node."""
        free = {node["metadata"]["name"]: count_node_gpus(node) for node in self.nodes}
        for pod in self.pods:
            node = pod["spec"].get("nodeName")
            if node in free:
                free[node] -= count_gpus(pod["spec"])
        return free

    @cached_property
    def _by_uid(self) -> Mapping[str, Json]:
        return {uid: value for value in self.snapshot.objects.values() if (uid := value["metadata"].get("uid"))}

    def find_workload(self, value: Json) -> Json:
        """Find the object that a pod belongs to, over its controllers: a Deployment, a Job; itself without one."""
        while True:
            owners: list[Json] = get_list(value["metadata"], "ownerReferences")
            owner = next((self._by_uid.get(owner["uid"]) for owner in owners if owner.get("controller")), None)
            if owner is None:
                return value
            value = owner

    @cached_property
    def workloads(self) -> tuple[Json, ...]:
        """Objects with a template of pods that no other object made."""
        kinds = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
        values = (value for kind in kinds for value in self.snapshot.list(kind))
        return tuple(value for value in values if not value["metadata"].get("ownerReferences"))

    def list_events(self, value: Json, *reasons: str) -> list[Json]:
        """List the events about an object, oldest first; only those with these reasons, if any are named."""
        events = self._events.get(get_text(value, "metadata", "uid"), ())
        return [event for event in events if not reasons or event.get("reason") in reasons]

    @cached_property
    def _events(self) -> Mapping[str, list[Json]]:
        """The events by the uid of their object, oldest first: a look-up for each pod would read all of them."""
        events: dict[str, list[Json]] = {}
        for event in sorted(self.snapshot.list("Event"), key=_get_event_time):
            events.setdefault(get_text(event, "involvedObject", "uid"), []).append(event)
        return events

    def list_pod_events(self, *reasons: str) -> Iterator[tuple[Json, Json]]:
        """List pods, each with its last event of these reasons."""
        for pod in self.pods:
            events = self.list_events(pod, *reasons)
            if events:
                yield pod, events[-1]

    def list_logs(self) -> Iterator[tuple[Json, ContainerKey, str]]:
        """List the logs that were read: the pod, the container and the text."""
        for container, text in self.answers.logs.items():
            pod = self.snapshot.find("Pod", container.pod, container.namespace)
            if pod is not None:
                yield pod, container, text

    def list_refused(self) -> Iterator[tuple[Json, Json]]:
        """List the objects that lack pods because the API server refuses them, each with its last event of that."""
        for value in (value for kind in _WANTED for value in self.snapshot.list(kind)):
            events = self.list_events(value, "FailedCreate")
            if events and _lacks_pods(value):
                yield value, events[-1]

    def list_pods_on(self, node: str) -> list[Json]:
        """List the pods of a node."""
        return [pod for pod in self.pods if pod["spec"].get("nodeName") == node]


def _get_event_time(event: Json) -> str:
    return get_text(event, "lastTimestamp") or get_text(event, "eventTime")


def _lacks_pods(value: Json) -> bool:
    wanted, actual = _WANTED[value["kind"]]
    spec, status = get_map(value, "spec"), get_map(value, "status")
    if value["kind"] == "Job" and (find_condition(value, "Complete") or find_condition(value, "Suspended")):
        return False
    count = int(spec.get(wanted, status.get(wanted, 1)))
    return sum(int(status.get(name, 0)) for name in actual) < count


def get_phase(pod: Json) -> str:
    """Return a pod's phase; empty when it has none yet."""
    return get_map(pod, "status").get("phase") or ""


def find_condition(value: Json, type: str, status: str = "True", reason: str | None = None) -> Json | None:
    """Find a condition of an object; None when it has none with this status and reason."""
    conditions: list[Json] = get_list(value, "status", "conditions")
    for condition in conditions:
        if condition["type"] == type and condition["status"] == status and reason in (None, condition.get("reason")):
            return condition
    return None


def is_ready(value: Json) -> bool:
    """Return whether a node or a pod is ready."""
    return find_condition(value, "Ready") is not None


def list_containers(spec: Json) -> list[Json]:
    """List the containers of a pod's specification, init containers first."""
    return [*(get_list(spec, "initContainers")), *(get_list(spec, "containers"))]


def get_pod_spec(value: Json) -> Json:
    """Return the specification of the pods that a workload makes, or that a pod has."""
    if value["kind"] == "Pod":
        return value["spec"]
    spec = value["spec"]
    for part in _TEMPLATES.get(value["kind"], ("template", "spec")):
        spec = get_map(spec, part)
    return spec


def list_statuses(pod: Json) -> list[Json]:
    """List the statuses of a pod's containers, init containers first."""
    status = get_map(pod, "status")
    return [*(get_list(status, "initContainerStatuses")), *(get_list(status, "containerStatuses"))]


def count_gpus(spec: Json, resource: str = GPU) -> int:
    """Count the whole GPUs that a pod's specification asks for."""
    main = sum(count_container_gpus(container, resource) for container in get_list(spec, "containers"))
    return max([main, *(count_container_gpus(entry, resource) for entry in get_list(spec, "initContainers"))])


def count_container_gpus(container: Json, resource: str = GPU) -> int:
    """Count the GPUs that a container asks for."""
    return int(parse_quantity(get_map(container, "resources", "limits").get(resource)))


def count_node_gpus(node: Json, part: str = "allocatable", resource: str = GPU) -> int:
    """Count the GPUs that a node's device plugin offers: of its `allocatable` or of its `capacity`."""
    return int(parse_quantity(get_map(node, "status", part).get(resource)))


def uses_gpu(spec: Json) -> bool:
    """Return whether a pod's specification asks for a GPU, by number or by claim."""
    return count_gpus(spec) > 0 or bool(spec.get("resourceClaims"))


def show_field(value: Json, path: str, shown: Json = None) -> Evidence:
    """Make evidence of a field: `spec.strategy.type`; `shown` is its value where the path does not lead to it."""
    leaf = _follow(value, path) if shown is None else shown
    text = "not set" if leaf is None else leaf if isinstance(leaf, str) else json.dumps(leaf)
    return Evidence(object=ObjectKey.read(value), place=path, value=text)


def show_condition(value: Json, condition: Json) -> Evidence:
    """Make evidence of a condition of an object."""
    message = condition.get("message") or condition.get("reason") or condition["status"]
    return Evidence(
        object=ObjectKey.read(value), place=f"status.conditions[{condition['type']}]", value=" ".join(message.split())
    )


def show_scheduling(pod: Json) -> Evidence:
    """Make evidence of the scheduler's reasons against a pod."""
    condition = find_condition(pod, "PodScheduled", "False")
    assert condition is not None, "only of pods that wait for the scheduler"
    return show_condition(pod, condition)


def show_event(value: Json, event: Json) -> Evidence:
    """Make evidence of an event about an object."""
    text = " ".join((get_text(event, "message")).split())
    return Evidence(object=ObjectKey.read(value), place=f"event {event.get('reason')}", value=text)


def show_log(pod: Json, container: ContainerKey, line: str) -> Evidence:
    """Make evidence of a line of a container's log."""
    return Evidence(object=ObjectKey.read(pod), place=f"log of {container.name}", value=" ".join(line.split()))


def show_answer(pod: Json, container: ContainerKey, line: str) -> Evidence:
    """Make evidence of what nvidia-smi printed in a container."""
    return Evidence(object=ObjectKey.read(pod), place=f"nvidia-smi in {container.name}", value=" ".join(line.split()))


def find_line(text: str, *words: str) -> str | None:
    """Find the last line of a log that has one of these texts; None when none has."""
    return next((line for line in reversed(text.splitlines()) if any(word in line for word in words)), None)


def _follow(value: Json, path: str) -> Json:
    *parents, last = path.split(".")
    for key in parents:
        value = as_object(value).get(key)
    return as_object(value).get(last)


def write_kubectl(value: Json, verb: str, *words: str) -> str:
    """Write a command of kubectl about an object: `kubectl -n ai delete pod comfyui-0`."""
    metadata = value["metadata"]
    namespace = f"-n {metadata['namespace']} " if metadata.get("namespace") else ""
    return f"kubectl {namespace}{verb} {value['kind'].lower()} {metadata['name']}" + "".join(
        f" {word}" for word in words
    )
