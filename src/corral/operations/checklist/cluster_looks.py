"""Evidence from Kubernetes, through kubectl."""

from __future__ import annotations

import json
from collections.abc import Iterator

from corral.operations.checklist.values import Evidence, Shell, Status, UnlookedError
from corral.planning.checklist.probes import GpuPodsAlive, LabelsOnNode, NodeReady, ReplicasReady
from corral.work import Json

_DEADLINE_S = 20.0
_TIMEOUT = "--request-timeout=10s"
_GPU = "nvidia.com/gpu"
_DRIVER = "gpu.nvidia.com"
"""NVIDIA's DRA driver, as its ResourceSlices name it."""


def node_ready(probe: NodeReady, shell: Shell) -> Evidence:
    """See whether a node is back with all its GPUs. Raises: UnlookedError."""
    node = _get(shell, "node", probe.node)
    conditions = {one["type"]: one["status"] for one in node["status"].get("conditions", [])}
    gpus = _claimable(shell, probe.node) if probe.by_claim else int(node["status"].get("allocatable", {}).get(_GPU, 0))
    is_ready, is_closed = conditions.get("Ready") == "True", bool(node["spec"].get("unschedulable"))
    closed = ", closed for pods" if is_closed else ""
    offered = "GPUs to claim" if probe.by_claim else f"allocatable {_GPU}"
    what = f"{'Ready' if is_ready else 'not Ready'}{closed}, {gpus} {offered}"
    good = is_ready and not is_closed and gpus == probe.gpus
    return Evidence(status=Status.DONE if good else Status.FAILED, what=what)


def labels_on_node(probe: LabelsOnNode, shell: Shell) -> Evidence:
    """Compare a node's labels. Raises: UnlookedError."""
    labels: dict[str, str] = _get(shell, "node", probe.node)["metadata"].get("labels", {})
    wrong = [
        f"{key} is {labels[key]!r}, wanted {value!r}" if key in labels else f"{key} is missing"
        for key, value in probe.labels
        if labels.get(key) != value
    ]
    wrong += [f"{key}={labels[key]} is still there" for key in probe.gone if key in labels]
    if wrong:
        return Evidence(status=Status.FAILED, what="; ".join(wrong))
    return Evidence(status=Status.DONE, what=f"{len(probe.labels)} labels as in the file, {len(probe.gone)} gone")


def gpu_pods_alive(probe: GpuPodsAlive, shell: Shell) -> Evidence:
    """Ask for the GPUs inside of every pod that has one. Raises: UnlookedError."""
    selector = f"--field-selector=spec.nodeName={probe.node},status.phase=Running"
    pods = _get(shell, "pods", "--all-namespaces", selector)["items"]
    asked = [place for pod in pods for place in _with_gpu(pod)]
    broken = [
        f"{namespace}/{pod}: {why}" for namespace, pod, box in asked if (why := _lost(shell, namespace, pod, box))
    ]
    if broken:
        return Evidence(status=Status.FAILED, what="; ".join(broken))
    return Evidence(status=Status.DONE, what=f"{len(asked)} of {len(asked)} containers with a GPU reach it")


def replicas_ready(probe: ReplicasReady, shell: Shell) -> Evidence:
    """Count replicas. Raises: UnlookedError."""
    status = _get(shell, probe.kind.lower(), probe.name, "-n", probe.namespace)["status"]
    ready = int(status.get("readyReplicas", 0))
    good = ready == probe.replicas and int(status.get("replicas", 0)) == probe.replicas
    what = f"{ready} of {status.get('replicas', 0)} replicas ready, {probe.replicas} wanted"
    return Evidence(status=Status.DONE if good else Status.FAILED, what=what)


def _get(shell: Shell, *words: str) -> Json:
    """Ask the API server. Raises: UnlookedError when kubectl is missing, fails, or says nothing that can be read."""
    ran = shell.run(("kubectl", "get", *words, "-o", "json", _TIMEOUT), deadline_s=_DEADLINE_S)
    if ran.exit_code != 0:
        said = (ran.errors.strip().splitlines() or ["it said nothing"])[-1]
        raise UnlookedError(f"kubectl get {' '.join(words)}: {said}")
    try:
        return json.loads(ran.out)
    except ValueError as error:
        raise UnlookedError(f"kubectl get {' '.join(words)}: its answer is not JSON") from error


def _claimable(shell: Shell, node: str) -> int:
    """Count the whole cards that NVIDIA's DRA driver offers on a node. Raises: UnlookedError."""
    slices = _get(shell, "resourceslices", f"--field-selector=spec.nodeName={node},spec.driver={_DRIVER}")["items"]
    newest = max((one["spec"]["pool"]["generation"] for one in slices), default=0)
    devices = [
        device
        for one in slices
        if one["spec"]["pool"]["generation"] == newest
        for device in one["spec"].get("devices", [])
    ]
    return sum(one.get("attributes", {}).get("type", {}).get("string") == "gpu" for one in devices)


def _with_gpu(pod: Json) -> Iterator[tuple[str, str, str]]:
    """List the containers that ask for a GPU by number or by claim; no other devices are claimed on these clusters."""
    for container in pod["spec"].get("containers", []):
        resources = container.get("resources", {})
        if resources.get("limits", {}).get(_GPU) or resources.get("claims"):
            yield pod["metadata"]["namespace"], pod["metadata"]["name"], container["name"]


def _lost(shell: Shell, namespace: str, pod: str, container: str) -> str | None:
    """Say why a container does not reach its GPU; None when it does."""
    words = ("kubectl", "-n", namespace, "exec", pod, "-c", container, _TIMEOUT, "--", "nvidia-smi", "-L")
    ran = shell.run(words, deadline_s=_DEADLINE_S)
    if ran.exit_code == 0 and "GPU 0" in ran.out:
        return None
    return ((ran.errors + ran.out).strip().splitlines() or ["nvidia-smi lists no GPU"])[-1]
