"""A Kubernetes cluster, as its API server answers: nodes, their GPUs, pods and replicas.

Belongs here: every call of kubectl, and the values that its answers become.
Does not belong here: what the cluster should be (`corral.rendering`), what an answer means for a checklist.
May import: `corral.errors`, `corral.work`.
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
