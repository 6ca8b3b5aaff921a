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


def node_ready(probe: NodeReady, shell: Shell) -> Evidence:
    """See whether a node is back with all its GPUs. Raises: UnlookedError."""
    node = _get(shell, "node", probe.node)
    conditions = {one["type"]: one["status"] for one in node["status"].get("conditions", [])}
    gpus = int(node["status"].get("allocatable", {}).get(_GPU, 0))
    is_ready, is_closed = conditions.get("Ready") == "True", bool(node["spec"].get("unschedulable"))
    closed = ", closed for pods" if is_closed else ""
    what = f"{'Ready' if is_ready else 'not Ready'}{closed}, {gpus} allocatable {_GPU}"
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
    """Count a deployment's replicas. Raises: UnlookedError."""
    namespace = () if probe.namespace is None else ("-n", probe.namespace)
    status = _get(shell, "deployment", probe.deployment, *namespace)["status"]
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


def _with_gpu(pod: Json) -> Iterator[tuple[str, str, str]]:
    for container in pod["spec"].get("containers", []):
        if container.get("resources", {}).get("limits", {}).get(_GPU):
            yield pod["metadata"]["namespace"], pod["metadata"]["name"], container["name"]


def _lost(shell: Shell, namespace: str, pod: str, container: str) -> str | None:
    """Say why a container does not reach its GPU; None when it does."""
    words = ("kubectl", "-n", namespace, "exec", pod, "-c", container, _TIMEOUT, "--", "nvidia-smi", "-L")
    ran = shell.run(words, deadline_s=_DEADLINE_S)
    if ran.exit_code == 0 and "GPU 0" in ran.out:
        return None
    return ((ran.errors + ran.out).strip().splitlines() or ["nvidia-smi lists no GPU"])[-1]
