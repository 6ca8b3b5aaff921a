"""Images that cannot be pulled, or that are for other hardware."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.diagnosis.case import Case, find_line, list_containers, list_statuses, show_event, show_field, show_log
from corral.diagnosis.objects import get_map, get_text
from corral.diagnosis.placing import name_workload
from corral.diagnosis.registry import diagnoses, make_pitfall
from corral.diagnosis.values import Evidence, Symptom
from corral.snapshot import ObjectKey
from corral.work import Json

_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})
_NOT_THERE = ("not found", "does not exist", "manifest unknown", "authorization failed", "access denied")
_OTHER_PLATFORM = ("exec format error", "no match for platform in manifest")


def _list_unpulled(case: Case) -> Iterator[tuple[Json, Json, Json]]:
    """List the containers whose image is not pulled: pod, container, status."""
    for pod in case.pods:
        containers = {container["name"]: container for container in list_containers(pod["spec"])}
        for status in list_statuses(pod):
            waiting = get_map(status, "state", "waiting")
            if waiting.get("reason") in _PULLING and status["name"] in containers:
                yield pod, containers[status["name"]], waiting


def _is_local(image: str) -> bool:
    """Return whether an image has no registry and no owner: `harvis-artifact-executor:latest`."""
    return "/" not in image


def _show_pull(case: Case, pod: Json, waiting: Json) -> tuple[str, tuple[Evidence, ...]]:
    """Find the message about a pull, and make evidence of it."""
    events = [event for event in case.list_events(pod, "Failed") if "ull" in (get_text(event, "message"))]
    message = " ".join([get_text(waiting, "message"), *(event["message"] for event in events[-1:])])
    shown = show_field(pod, f"containerStatuses.state.waiting[{waiting['reason']}]", get_text(waiting, "message"))
    return message, (shown, *(show_event(pod, event) for event in events[-1:]))


@diagnoses(
    "B12",
    evidence="Pod: waiting ErrImagePull or ImagePullBackOff, imagePullPolicy, an image without a registry",
    source="https://kubernetes.io/docs/concepts/containers/images/",
    is_recalled=True,
)
def find_local_images(case: Case) -> Iterator[Symptom]:
    """Look for images of this machine alone that a node tries to pull."""
    for pod, container, waiting in _list_unpulled(case):
        message, shown = _show_pull(case, pod, waiting)
        if _is_local(container["image"]) and any(word in message for word in _NOT_THERE):
            image = container["image"]
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"the image {image} is in no registry, and the node tries to pull it "
                f"(imagePullPolicy {container.get('imagePullPolicy')})",
                evidence=(show_field(pod, f"containers[{container['name']}].image", image), *shown),
                fix=f"docker save {image} | ssh NODE sudo k3s ctr images import -, and set `imagePullPolicy: Never`",
            )


@diagnoses(
    make_pitfall("K13", "image-not-pulled", "an image that a node cannot pull"),
    evidence="Pod: waiting ErrImagePull or ImagePullBackOff; event Failed",
    source="https://kubernetes.io/docs/concepts/containers/images/#imagepullbackoff",
    is_recalled=True,
)
def find_failed_pulls(case: Case) -> Iterator[Symptom]:
    """Look for images that a registry does not give."""
    for pod, container, waiting in _list_unpulled(case):
        message, shown = _show_pull(case, pod, waiting)
        if _is_local(container["image"]) and any(word in message for word in _NOT_THERE):
            continue
        cause, fix = _judge_pull(message, container["image"], name_workload(case.find_workload(pod)))
        yield Symptom(subject=ObjectKey.read(pod), cause=cause, evidence=shown, fix=fix)


def _judge_pull(message: str, image: str, workload: str) -> tuple[str, str]:
    if re.search(r"toomanyrequests|rate limit", message):
        return "the registry's limit of pulls is reached", "log in to the registry with an `imagePullSecrets` entry"
    if re.search(r"unauthorized|authentication required|denied|403", message):
        return f"the registry does not give {image} without a login", f"add `imagePullSecrets` to {workload}"
    if re.search(r"no such host|i/o timeout|connection refused|TLS handshake", message):
        return "the node does not reach the registry", "look at the node's DNS and its way to the internet"
    if re.search(r"no match for platform", message):
        return f"{image} is not made for the processor of the node", "choose a node or an image of that architecture"
    if re.search(r"no space left", message):
        return "the node's disk is full", "free the node's disk: sudo k3s crictl rmi --prune"
    if re.search(r"not found|manifest unknown", message):
        return f"the registry has no {image}", f"correct the image's name and tag in {workload}"
    return f"{image} cannot be pulled", "do what the event says"


@diagnoses(
    "A40",
    evidence="logs (exec format error); Pod: spec.nodeName; Node: status.nodeInfo.architecture",
    source="https://github.com/kubernetes/node-problem-detector/issues/797",
)
def find_other_architectures(case: Case) -> Iterator[Symptom]:
    """Look for programs that are made for another processor than their node's."""
    for pod, container, text in case.list_logs():
        line = find_line(text, *_OTHER_PLATFORM)
        if line is None:
            continue
        node = case.snapshot.find("Node", get_text(pod, "spec", "nodeName"))
        yield Symptom(
            subject=ObjectKey.read(pod),
            cause="its image is for another processor architecture than its node",
            evidence=(
                show_log(pod, container, line),
                *((show_field(node, "status.nodeInfo.architecture"),) if node else ()),
            ),
            fix="use an image for several architectures, or select `kubernetes.io/arch: amd64`",
        )
