"""The manifest of an attempt's Job: values in, objects out.

A Job is named after its attempt: creating it twice creates it once, and a later server finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from corral.engines.job.delivery import FILES, deliver, list_delivery_volumes, needs_delivery
from corral.engines.job.inputs import CONTAINER, MOUNT, JobInputs, JobOptions
from corral.rendering.kubernetes.objects import PRIORITY_LABEL, QUEUE_LABEL
from corral.units import parse_duration
from corral.work import Json, Work

TASK_LABEL = "corral/task"
ATTEMPT_LABEL = "corral/attempt"
FOLDER = "corral-attempts"
"""The folder of all attempts in the shared folder."""
GATED = "kueue.x-k8s.io/admission-gated-by"
"""Kueue admits no Job while this annotation names something (0.19, `AdmissionGatedBy`; earlier ones ignore it)."""
_GATE = "corral.dev/replicas-are-emptied"
_RENDEZVOUS_PORT = 29500
"""PyTorch's own default (torch.distributed.run, `--master-port`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The LocalQueue that Jobs go to."""

    namespace: str
    queue: str


def name_job(attempt: UUID) -> str:
    """Name the Job of an attempt."""
    return f"corral-{attempt.hex}"


def make_job(
    work: Work,
    inputs: JobInputs,
    options: JobOptions,
    target: Target,
    *,
    priority: str | None = None,
    is_gated: bool = False,
    node: Mapping[str, str] | None = None,
) -> Json:
    """Make the Job of an attempt: suspended, until Kueue admits it.

    Where it `is_gated`, Kueue waits until the gate is taken away. `node` has the labels of the only node for its pods.
    """
    name = name_job(work.attempt)
    metadata: dict[str, Json] = {
        "name": name,
        "namespace": target.namespace,
        "labels": _make_labels(work, target, priority),
    }
    if is_gated:
        metadata["annotations"] = {GATED: _GATE}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "suspend": True,
            "completionMode": "Indexed",
            "completions": inputs.pods,
            "parallelism": inputs.pods,
            # The queue decides about further attempts; a pod that a lost node or an eviction took has not failed.
            "backoffLimit": 0,
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            # Long enough for a server that was away to find the Job and its outputs again.
            "ttlSecondsAfterFinished": int(parse_duration(options.keep).total_seconds()),
            "template": {
                "metadata": {"labels": {TASK_LABEL: str(work.task), ATTEMPT_LABEL: str(work.attempt)}},
                "spec": _make_pod(work, inputs, options) | ({"nodeSelector": dict(node)} if node else {}),
            },
        },
    }


def make_meeting_point(job: Json) -> Json:
    """Make the headless Service by which the pods of a Job find the first of them; it goes with the Job."""
    metadata = job["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "ownerReferences": [owner]},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"batch.kubernetes.io/job-name": metadata["name"]},
            "ports": [{"name": "rendezvous", "port": _RENDEZVOUS_PORT}],
        },
    }


def _make_labels(work: Work, target: Target, priority: str | None) -> Mapping[str, str]:
    labels = {
        "app.kubernetes.io/managed-by": "corral",
        TASK_LABEL: str(work.task),
        ATTEMPT_LABEL: str(work.attempt),
        QUEUE_LABEL: target.queue,
    }
    return labels if priority is None else {**labels, PRIORITY_LABEL: priority}


def _make_pod(work: Work, inputs: JobInputs, options: JobOptions) -> Json:
    volumes: list[Json] = [
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": inputs.shared_memory}}
    ]
    mounts: list[Json] = [{"name": "shared-memory", "mountPath": "/dev/shm"}]
    delivers = needs_delivery(work, inputs, options)
    if options.shared_claim is not None:
        volumes.append({"name": "attempt", "persistentVolumeClaim": {"claimName": options.shared_claim}})
        mounts.append({"name": "attempt", "mountPath": MOUNT, "subPath": f"{FOLDER}/{work.attempt}"})
    elif delivers:
        volumes += list_delivery_volumes(name_job(work.attempt))
        mounts += FILES
    for number, volume in enumerate(inputs.volumes):
        volumes.append({"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": volume.claim}})
        mount: dict[str, Json] = {"name": f"volume-{number}", "mountPath": volume.path, "readOnly": volume.read_only}
        mounts.append(mount if volume.sub_path is None else {**mount, "subPath": volume.sub_path})
    limits = {"memory": inputs.memory} | ({options.gpu_resource: inputs.gpus} if inputs.gpus else {})
    container: dict[str, Json] = {
        "name": CONTAINER,
        "image": inputs.image,
        "env": [{"name": key, "value": value} for key, value in _make_environment(work, inputs).items()]
        + [_read_rank("NODE_RANK"), _read_rank("PET_NODE_RANK")],
        "resources": {"requests": {"cpu": str(inputs.cpus), "memory": inputs.memory}, "limits": limits},
        "volumeMounts": mounts,
    }
    container |= {
        key: value for key, value in (("command", inputs.command), ("args", inputs.args)) if value is not None
    }
    pod: dict[str, Json] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        **(deliver(container, work, inputs, options) if delivers else {"containers": [container]}),
        "volumes": volumes,
        "tolerations": [{"key": options.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}],
    }
    if inputs.pods > 1:
        pod["subdomain"] = name_job(work.attempt)
    if options.runtime_class is not None and inputs.gpus:
        pod["runtimeClassName"] = options.runtime_class
    if options.image_pull_secret is not None:
        pod["imagePullSecrets"] = [{"name": options.image_pull_secret}]
    return pod


def _make_environment(work: Work, inputs: JobInputs) -> Mapping[str, str]:
    """Make the variables of every pod: where its files are, and how pods of a gang meet.

    `PET_*` are those of `torchrun` and `accelerate launch` (torch.distributed.run: every option has such a variable).
    """
    name = name_job(work.attempt)
    leader = f"{name}-0.{name}" if inputs.pods > 1 else "127.0.0.1"
    per_pod = str(max(inputs.gpus, 1))
    own = {
        "CORRAL_TASK": str(work.task),
        "CORRAL_INPUTS": f"{MOUNT}/inputs",
        "CORRAL_OUTPUTS": f"{MOUNT}/outputs",
        "MASTER_ADDR": leader,
        "MASTER_PORT": str(_RENDEZVOUS_PORT),
        "NNODES": str(inputs.pods),
        "PET_MASTER_ADDR": leader,
        "PET_MASTER_PORT": str(_RENDEZVOUS_PORT),
        "PET_NNODES": str(inputs.pods),
        "PET_NPROC_PER_NODE": per_pod,
    }
    return {**own, **inputs.env}


def _read_rank(name: str) -> Json:
    path = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
