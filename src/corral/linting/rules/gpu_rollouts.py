"""Whether a new version of a GPU workload can ever start."""

from __future__ import annotations

from collections.abc import Iterator

from corral.linting.corpus import Scene
from corral.linting.objects import Object, Pod
from corral.linting.registry import Found, checks
from corral.linting.tree import Tree, counted
from corral.linting.values import Severity

_CLOUDS = (
    "cloud.google.com/",
    "eks.amazonaws.com/",
    "karpenter.sh/",
    "karpenter.k8s.aws/",
    "kubernetes.azure.com/",
    "node.kubernetes.io/instance-type",
)
"""Labels of nodes that a cloud or its autoscaler makes."""


@checks("A02")
def rollout_deadlock(scene: Scene) -> Iterator[Found]:
    """Look for Deployments whose pods hold GPUs and whose update starts a pod before it stops one."""
    for one in scene.of_kind("Deployment"):
        pod = one.pod
        if pod is None or not pod.gpus or one.replicas == 0 or _is_in_a_cloud(pod):
            continue
        surge = _surge(one)
        if surge and not _stops_one_first(one) and not scene.shares_gpus and not _has_room(scene, one, surge):
            yield Found(
                place=(one.tree["spec"]["strategy"] or one.tree["spec"]["replicas"] or one.tree["kind"]).place,
                what=f"an update starts {surge} more pod with {pod.gpus} GPU before it stops one",
                subject=one,
                severity=None if scene.cluster else Severity.WARNING,  # whether a card is spare is not known
            )


def _is_in_a_cloud(pod: Pod) -> bool:
    """Tell whether a pod chooses nodes of a cloud, which come as they are needed."""
    terms = pod.spec["affinity"]["nodeAffinity"]
    keys = {*pod.spec["nodeSelector"].keys, *(tree.raw or "" for path, tree in terms.walk() if path[-1:] == ("key",))}
    return any(key.startswith(_CLOUDS) for key in keys)


def _surge(one: Object) -> int:
    """Pods that an update starts above the replicas; 25 % rounded up is Kubernetes' default."""
    strategy = one.tree["spec"]["strategy"]
    if strategy["type"].raw == "Recreate":
        return 0
    return _pods(strategy["rollingUpdate"]["maxSurge"], one.replicas)


def _stops_one_first(one: Object) -> bool:
    """Tell whether an update may stop a pod before the new one is there; 25 % rounded down is Kubernetes' default."""
    value = one.tree["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"]
    raw = (value.raw if value else "25%") or ""
    share = counted(raw.removesuffix("%"))
    if share is None:
        return bool(value)  # a template fills it
    return (one.replicas * share // 100 if raw.endswith("%") else share) > 0


def _pods(value: Tree, replicas: int) -> int:
    raw = value.raw if value else "25%"
    if raw is None:
        return 0  # a template fills it
    share = counted(raw.removesuffix("%"))
    if share is None:
        return 0
    return -(-replicas * share // 100) if raw.endswith("%") else share


def _has_room(scene: Scene, one: Object, surge: int) -> bool:
    """Tell whether the cluster file shows GPUs to spare on the nodes that the pods may use; unknown is no."""
    pod = one.pod
    if scene.cluster is None or pod is None:
        return False
    node = pod.spec["nodeSelector"]["kubernetes.io/hostname"].raw
    counts = [len(each.gpus or ()) for each in scene.cluster.nodes if node is None or each.name == node]
    held = sum(
        other.gpus * other.owner.replicas
        for other in scene.deployed
        if node is None or other.spec["nodeSelector"]["kubernetes.io/hostname"].raw == node
    )
    return sum(counts) - held >= surge * pod.gpus
