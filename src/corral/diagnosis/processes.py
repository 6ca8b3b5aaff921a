"""Containers that end, that are killed by a probe, or that do not get the memory or the GPU that they need."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.diagnosis.case import (
    Case,
    count_container_gpus,
    find_line,
    get_phase,
    list_containers,
    list_statuses,
    show_event,
    show_field,
    show_log,
)
from corral.diagnosis.objects import get_list, get_map, get_text
from corral.diagnosis.placing import name_workload
from corral.diagnosis.registry import diagnoses, make_pitfall
from corral.diagnosis.values import ContainerKey, Evidence, Symptom
from corral.linting.values import Severity
from corral.snapshot import ObjectKey
from corral.work import Json

_OFFLOADED = re.compile(r"offloaded (?P<on>\d+)/(?P<of>\d+) layers to GPU")
_PROBE = re.compile(r"(?P<probe>Liveness|Readiness|Startup) probe failed")
_OUT_OF_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "cudaMalloc failed: out of memory")
_SHARED_MEMORY = (
    "unable to open shared memory object",
    "insufficient shared memory (shm)",
    "killed by signal: Bus error",
)
_PROBED = "https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/"


def _find_container(pod: Json, name: str) -> dict[str, Json]:
    """Find a container of a pod; empty when it has none of this name."""
    for container in list_containers(pod["spec"]):
        if container["name"] == name:
            return container
    return {}


def _find_evented(pod: Json, event: Json) -> Json | None:
    """Find the container that an event of a kubelet is about; None when it does not name one of the pod."""
    named = re.search(r"\{(\w+)\}", event["involvedObject"].get("fieldPath") or "")
    if named:
        return _find_container(pod, named[1]) or None
    return next(iter(pod["spec"]["containers"]), None)


@diagnoses(
    "B03",
    evidence="event Killing (failed liveness probe); Pod: livenessProbe, startupProbe, restartCount",
    reads=("Pod", "Event"),
    source="https://github.com/kserve/kserve/issues/5062",
)
def find_killed_loads(case: Case) -> Iterator[Symptom]:
    """Look for containers without a startup probe that a liveness probe kills."""
    for pod, event in case.list_pod_events("Killing"):
        container = _find_evented(pod, event)
        if "liveness probe" not in (get_text(event, "message")) or container is None or container.get("startupProbe"):
            continue
        probe = get_map(container, "livenessProbe")
        allowed = probe.get("initialDelaySeconds", 0) + probe.get("periodSeconds", 10) * probe.get(
            "failureThreshold", 3
        )
        place = f"containers[{container['name']}]"
        yield Symptom(
            subject=ObjectKey.read(pod),
            cause=f"its liveness probe gives {container['name']} {allowed} s to start, and no startupProbe gives more",
            evidence=(
                show_event(pod, event),
                show_field(pod, f"{place}.livenessProbe", probe),
                show_field(pod, f"{place}.startupProbe", "not set"),
            ),
            fix=f"give {name_workload(case.find_workload(pod))} a startupProbe whose failureThreshold x periodSeconds "
            "is longer than its load takes",
        )


@diagnoses(
    "B04",
    evidence="event Unhealthy (deadline exceeded); Pod: timeoutSeconds of the probe",
    reads=("Pod", "Event"),
    source=_PROBED,
)
def find_short_timeouts(case: Case) -> Iterator[Symptom]:
    """Look for probes that give a busy container one second to answer."""
    for pod, event in case.list_pod_events("Unhealthy"):
        message = get_text(event, "message")
        container, named = _find_evented(pod, event), _PROBE.search(message)
        if not named or not container or not re.search(r"deadline exceeded|Client\.Timeout|timed out", message):
            continue
        key = f"{named['probe'].lower()}Probe"
        probe = get_map(container, key)
        if probe.get("timeoutSeconds", 1) == 1:
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"the {key} of {container['name']} waits one second for an answer, and it takes longer",
                evidence=(
                    show_event(pod, event),
                    show_field(pod, f"containers[{container['name']}].{key}.timeoutSeconds", "1"),
                ),
                fix=f"set `timeoutSeconds: 10` in the {key} of {name_workload(case.find_workload(pod))}",
            )


@diagnoses(
    "B15",
    evidence="event Unhealthy (executable file not found); Pod: command of the probe",
    reads=("Pod", "Event"),
    source="https://github.com/ollama/ollama/issues/9781",
)
def find_missing_tools(case: Case) -> Iterator[Symptom]:
    """Look for probes that run a program which the image does not have."""
    for pod, event in case.list_pod_events("Unhealthy"):
        named = re.search(r'exec: \\?"(?P<tool>[^"\\]+)\\?": .*executable file not found', get_text(event, "message"))
        if named:
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"its probe runs {named['tool']}, which its image does not have",
                evidence=(show_event(pod, event),),
                fix=f"use an `httpGet` probe instead of {named['tool']}",
            )


@diagnoses(
    "B08",
    evidence="logs (offloaded N/M layers to GPU)",
    source="https://github.com/ollama/ollama/issues/3301",
)
def find_split_models(case: Case) -> Iterator[Symptom]:
    """Look for language models of which a part is computed by the processor."""
    for pod, container, text in case.list_logs():
        matches = list(_OFFLOADED.finditer(text))
        if matches and int(matches[-1]["on"]) < int(matches[-1]["of"]):
            on, of = matches[-1]["on"], matches[-1]["of"]
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"{on} of the {of} layers of its model fit on the GPU; the processor computes the rest",
                evidence=(show_log(pod, container, matches[-1][0]),),
                fix="choose a smaller quantization or context: `corral fit MODEL` lists what fits",
            )


@diagnoses(
    "B09",
    evidence="logs (CUDA out of memory); Node: label nvidia.com/gpu.replicas; ResourceClaims that several Pods use",
    reads=("Pod", "Node"),
    source="https://github.com/gpustack/gpustack/issues/3034",
)
def find_shared_overcommit(case: Case) -> Iterator[Symptom]:
    """Look for containers that find their GPU full of other containers' memory."""
    for pod, container, line in _list_lines(case, _OUT_OF_MEMORY):
        sharing = _show_sharing(case, pod)
        if sharing:
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause="its GPU is shared, and its pods need more memory together than it has",
                evidence=(show_log(pod, container, line), *sharing),
                fix="give one of the pods a GPU of its own, or each of them a smaller model",
            )


@diagnoses(
    make_pitfall("K14", "gpu-memory-exceeded", "a program that needs more memory than its GPU has"),
    evidence="logs (CUDA out of memory), where the GPU is not shared",
    reads=("Pod", "Node"),
    source="https://github.com/pytorch/pytorch/issues/16417",
)
def find_exceeded_gpus(case: Case) -> Iterator[Symptom]:
    """Look for containers whose own GPU is too small for what they load."""
    for pod, container, line in _list_lines(case, _OUT_OF_MEMORY):
        if not _show_sharing(case, pod):
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"{container.name} needs more memory than its GPU has",
                evidence=(show_log(pod, container, line),),
                fix="use a smaller model, batch or context: `corral fit` lists what fits on which GPU",
            )


def _show_sharing(case: Case, pod: Json) -> tuple[Evidence, ...]:
    """Make evidence of what shares the GPU of a pod; empty when nothing does."""
    node = case.snapshot.find("Node", get_text(pod, "spec", "nodeName"))
    replicas = (get_map((node or {}).get("metadata", {}), "labels")).get("nvidia.com/gpu.replicas", "")
    if node and replicas.isdigit() and int(replicas) > 1:
        return (show_field(node, "metadata.labels[nvidia.com/gpu.replicas]", replicas),)
    claims = {entry.get("resourceClaimName") for entry in get_list(pod["spec"], "resourceClaims")} - {None}
    return tuple(
        show_field(other, "spec.resourceClaims")
        for other in case.pods
        if other is not pod
        and other["metadata"]["namespace"] == pod["metadata"]["namespace"]
        and claims & {entry.get("resourceClaimName") for entry in get_list(other["spec"], "resourceClaims")}
    )


def _list_lines(case: Case, words: tuple[str, ...]) -> Iterator[tuple[Json, ContainerKey, str]]:
    for pod, container, text in case.list_logs():
        line = find_line(text, *words)
        if line is not None:
            yield pod, container, line


@diagnoses(
    "A26",
    evidence="logs (shared memory); Pod: volumes of medium Memory at /dev/shm",
    source="https://github.com/pytorch/pytorch/issues/16979",
)
def find_small_shared_memory(case: Case) -> Iterator[Symptom]:
    """Look for containers that run out of the 64 MB of /dev/shm."""
    for pod, container, line in _list_lines(case, _SHARED_MEMORY):
        mounts: list[Json] = get_list(_find_container(pod, container.name), "volumeMounts")
        shm = next((mount["name"] for mount in mounts if mount["mountPath"] == "/dev/shm"), None)
        yield Symptom(
            subject=ObjectKey.read(pod),
            cause="its shared memory is full"
            + ("" if shm else ": /dev/shm has 64 MB unless a volume is mounted there"),
            evidence=(
                show_log(pod, container, line),
                show_field(pod, f"containers[{container.name}].volumeMounts[/dev/shm]", shm or "not set"),
            ),
            fix="mount an `emptyDir: {medium: Memory, sizeLimit: 8Gi}` at /dev/shm, and add it to the memory limit",
        )


@diagnoses(
    "A27",
    evidence="logs (NCCL errors and P2P); Pod: NCCL_P2P_DISABLE",
    source="https://github.com/sgl-project/sglang/issues/4814",
)
def find_failed_peers(case: Case) -> Iterator[Symptom]:
    """Look for NCCL that fails over several GPUs of one container, without NCCL_P2P_DISABLE."""
    for pod, container, text in case.list_logs():
        value = _find_container(pod, container.name)
        line = find_line(text, "peer access is not supported", "NCCL WARN Cuda failure", "unhandled cuda error")
        variables = {entry["name"] for entry in get_list(value, "env")}
        if line and count_container_gpus(value) > 1 and "NCCL_P2P_DISABLE" not in variables:
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause="NCCL fails between its GPUs; those of the GeForce series have no P2P",
                evidence=(
                    show_log(pod, container, line),
                    show_field(pod, f"containers[{container.name}].env[NCCL_P2P_DISABLE]", "not set"),
                ),
                fix="set `NCCL_P2P_DISABLE=1` and `NCCL_IB_DISABLE=1` in the container",
            )


@diagnoses(
    "A33",
    evidence="logs (no kernel image is available)",
    source="https://github.com/Comfy-Org/ComfyUI/issues/7779",
)
def find_old_images(case: Case) -> Iterator[Symptom]:
    """Look for programs without kernels for their GPU."""
    for pod, container, line in _list_lines(case, ("no kernel image is available for execution on the device",)):
        image = _find_container(pod, container.name).get("image", "unknown")
        yield Symptom(
            subject=ObjectKey.read(pod),
            cause=f"the image {image} has no kernels for the GPU of its node",
            evidence=(
                show_log(pod, container, line),
                show_field(pod, f"containers[{container.name}].image", image),
                show_field(pod, "spec.nodeName"),
            ),
            fix="use an image with CUDA 12.8 and PyTorch 2.7 or newer (an RTX 50 needs both)",
        )


@diagnoses(
    "A10",
    evidence="logs (invalid device ordinal, no CUDA-capable device); Pod: CUDA_VISIBLE_DEVICES, GPU limits",
    source="https://github.com/KellerJordan/modded-nanogpt/issues/61",
)
def find_host_indexes(case: Case) -> Iterator[Symptom]:
    """Look for programs that look for a GPU under the index that it has on the host."""
    words = ("invalid device ordinal", "no CUDA-capable device is detected")
    for pod, container, line in _list_lines(case, words):
        value = _find_container(pod, container.name)
        index = next((e.get("value", "") for e in get_list(value, "env") if e["name"] == "CUDA_VISIBLE_DEVICES"), "")
        if any(part.isdigit() and int(part) >= count_container_gpus(value) for part in index.split(",")):
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"CUDA_VISIBLE_DEVICES is {index}, and its {count_container_gpus(value)} GPUs are counted from 0",
                evidence=(
                    show_log(pod, container, line),
                    show_field(pod, f"containers[{container.name}].env[CUDA_VISIBLE_DEVICES]", index),
                ),
                fix=f"remove CUDA_VISIBLE_DEVICES from {name_workload(case.find_workload(pod))}",
            )


@diagnoses(
    make_pitfall("K15", "container-out-of-memory", "a container that the kernel ended at its memory limit"),
    evidence="Pod: lastState.terminated or state.terminated OOMKilled; memory limit",
    source="https://kubernetes.io/docs/tasks/configure-pod-container/assign-memory-resource/",
)
def find_killed_containers(case: Case) -> Iterator[Symptom]:
    """Look for containers that were ended because they used more memory than they can have."""
    for pod in case.snapshot.list("Pod"):
        for status in list_statuses(pod):
            ended = _get_end(status)
            if ended.get("reason") != "OOMKilled":
                continue
            container = _find_container(pod, status["name"])
            limit = get_map(container, "resources", "limits").get("memory")
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"{status['name']} used more memory than {limit or 'its node had'}, and was ended",
                evidence=(
                    show_field(pod, f"containerStatuses[{status['name']}].terminated.reason", "OOMKilled"),
                    show_field(pod, f"containers[{status['name']}].resources.limits.memory", limit or "not set"),
                ),
                fix="raise its memory limit, or load less at a time; files that it maps count to the limit",
            )


def _get_end(status: Json) -> Json:
    for part in ("state", "lastState"):
        ended = get_map(status, part).get("terminated")
        if ended:
            return ended
    return {}


@diagnoses(
    make_pitfall("K16", "container-keeps-ending", "a container that ends again and again"),
    evidence="Pod: waiting CrashLoopBackOff, restartCount, exit code; end of its log",
    source="https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-restarts",
    is_recalled=True,
)
def find_crash_loops(case: Case) -> Iterator[Symptom]:
    """Look for containers that a kubelet starts again and again."""
    for pod in case.pods:
        for status in list_statuses(pod):
            waiting = get_map(status, "state", "waiting")
            if waiting.get("reason") != "CrashLoopBackOff":
                continue
            key = ContainerKey(pod["metadata"]["namespace"], pod["metadata"]["name"], status["name"])
            ended = _get_end(status)
            lines = [line for line in case.answers.logs.get(key, "").splitlines() if line.strip()]
            code = ended.get("exitCode", "unknown")
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"{status['name']} ended {status.get('restartCount', 0)} times, the last time with code {code}"
                + (f": {lines[-1].strip()}" if lines else ""),
                evidence=(
                    show_field(pod, f"containerStatuses[{status['name']}].restartCount", status.get("restartCount", 0)),
                    *(show_log(pod, key, line) for line in lines[-2:]),
                ),
                fix=f"kubectl -n {key.namespace} logs {key.pod} -c {key.name} --previous",
            )


@diagnoses(
    make_pitfall("K17", "pod-unknown-to-node", "a pod that was deleted and does not end", Severity.WARNING),
    evidence="Pod: metadata.deletionTimestamp, on a Node that is not ready",
    reads=("Pod", "Node"),
)
def find_stuck_pods(case: Case) -> Iterator[Symptom]:
    """Look for deleted pods whose node cannot confirm their end."""
    for pod in case.pods:
        node = case.snapshot.find("Node", get_text(pod, "spec", "nodeName"))
        if not pod["metadata"].get("deletionTimestamp") or node is None or get_phase(pod) != "Running":
            continue
        ready = next((c for c in get_list(node, "status", "conditions") if c["type"] == "Ready"), None)
        if ready is not None and ready["status"] == "Unknown":
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=f"its node {node['metadata']['name']} does not answer, so its end is unknown",
                evidence=(
                    show_field(pod, "metadata.deletionTimestamp"),
                    show_field(node, "status.conditions[Ready]", ready.get("message") or "Unknown"),
                ),
                fix="start the node; if it is gone for good: "
                f"kubectl delete node {node['metadata']['name']}, which frees its volumes too",
            )
