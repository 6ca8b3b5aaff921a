"""The Job that asks where no container of a service can: it runs an image that runs on the cluster already.

It ends by itself, and Kubernetes removes it by itself, so that one whose `corral verify` was killed does not stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from corral.deploying.objects import LayoutObjects
from corral.deploying.state import CORRAL, MANAGED_BY, PART_OF
from corral.diagnosis.case import is_ready
from corral.engine_kinds import COMFYUI
from corral.snapshot import Snapshot
from corral.verifying.questions import Question
from corral.work import Json

NAME = "corral-verify"
LONGEST_S = 60
"""Starting a pod from an image that is there takes seconds; a mount over NFS that hangs is given up after 30."""
_KEPT_S = 120
_WITH_SHELL = ("corral:", "ollama/ollama", "busybox", "alpine", COMFYUI.name, "python", "prom/prometheus", "nginx")
"""Parts of the names of images that have a program for a question, for where none has answered yet."""
_FOLDER = "/corral-verify"


def choose_images(wanted: LayoutObjects, snapshot: Snapshot, answered: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Choose images that run on the cluster, each with its node: those that have answered first, the likely ones next.

    `answered` are names of pods whose containers had a program for a question.
    """
    good = frozenset(answered)

    def rank(entry: tuple[str, str, str]) -> int:
        pod, image, _ = entry
        return 0 if pod in good else 1 if any(part in image for part in _WITH_SHELL) else 2

    ranked = sorted(_list_running(wanted, snapshot), key=rank)
    return tuple(dict.fromkeys((image, node) for _, image, node in ranked))


def _list_running(wanted: LayoutObjects, snapshot: Snapshot) -> Iterator[tuple[str, str, str]]:
    for namespace in wanted.namespaces:
        for pod in snapshot.list("Pod", namespace):
            node = pod["spec"].get("nodeName")
            if node and is_ready(pod):
                yield from (
                    (pod["metadata"]["name"], container["image"], node) for container in pod["spec"]["containers"]
                )


def make_job(question: Question, image: str, node: str, cluster: str) -> Json:
    """Make the Job that asks a question; where it is about a claim, the claim is mounted."""
    argv = list(question.argv)
    mounts: list[Json] = []
    volumes: list[Json] = []
    if question.claim is not None:
        mounts = [{"name": "asked", "mountPath": _FOLDER}]
        volumes = [{"name": "asked", "persistentVolumeClaim": {"claimName": question.claim}}]
        argv = [_FOLDER if word == question.address else word for word in argv]
    labels = {"app.kubernetes.io/name": NAME, PART_OF: cluster, MANAGED_BY: CORRAL}
    container: Json = {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": argv,
        # An image of NVIDIA's asks its runtime for all GPUs of the node otherwise.
        "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": mounts,
    }
    pod: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": {"kubernetes.io/hostname": node},
        "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": volumes,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"generateName": f"{NAME}-", "namespace": question.namespace, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": LONGEST_S,
            "ttlSecondsAfterFinished": _KEPT_S,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
