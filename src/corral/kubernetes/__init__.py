"""A Kubernetes cluster, as its API server answers: nodes, their GPUs, pods and replicas.

Belongs here: every request to an API server, by kubectl for a person's checklist and by `api` for all else, and the
values that the answers become.
Does not belong here: what the cluster should be (`corral.rendering`), what an answer means for a checklist.
May import: `corral.errors`, `corral.snapshot`, `corral.work`.
"""

from corral.kubernetes.kubectl import Kubectl, KubernetesError, Ran, Shell
from corral.kubernetes.observing import (
    GPU_RESOURCE,
    Container,
    NodeState,
    Replicas,
    count_claimable_gpus,
    find_gpu_loss,
    list_gpu_containers,
    observe_node,
    observe_replicas,
)

__all__ = [
    "GPU_RESOURCE",
    "Container",
    "Kubectl",
    "KubernetesError",
    "NodeState",
    "Ran",
    "Replicas",
    "Shell",
    "count_claimable_gpus",
    "find_gpu_loss",
    "list_gpu_containers",
    "observe_node",
    "observe_replicas",
]
