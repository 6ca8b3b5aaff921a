"""How a pod chooses its node and its card."""

from __future__ import annotations

from collections.abc import Iterator

from corral.cluster.values import Node
from corral.linting.objects import GPU_RESOURCE, Pod
from corral.linting.registry import Found, checks
from corral.linting.scene import Scene
from corral.linting.tree import Tree
from corral.linting.values import Rule, Severity

HOSTNAME = "kubernetes.io/hostname"
_GFD_LABELS = ("nvidia.com/gpu.product", "nvidia.com/gpu.memory", "nvidia.com/gpu.family", "nvidia.com/gpu.compute")


@checks(
    Rule(
        id="A01",
        name="gpu-antiaffinity-topology-key",
        severity=Severity.WARNING,
        summary="a topology key that is no label of any node",
        practice="As anti-affinity the term is accepted and does nothing; as affinity the pod stays Pending.",
        source="reproduced on Kubernetes 1.36; nvidia.com/gpu is a resource, not a node label",
        fix="Use `kubernetes.io/hostname` to spread over nodes. Spreading over the GPUs of a node needs nothing: "
        "each pod that asks for a GPU gets its own.",
    )
)
def topology_key(scene: Scene) -> Iterator[Found]:
    """Look for topology keys that name a resource."""
    for one in scene.under("topologyKey"):
        if one.tree.raw == GPU_RESOURCE:
            what = f"topologyKey {one.tree.raw!r} is no node label"
            yield Found(place=one.tree.place, what=what, subject=one.subject)


@checks(
    Rule(
        id="A11",
        name="mixed-models-one-node",
        severity=Severity.ERROR,
        summary="a plain GPU request on a node with several models",
        practice="The device plugin hands out whichever card is free: work for 16 GB lands on the card of 12 GB. "
        "Labels "
        "such as `has-3060` choose the node, never the card.",
        source="k8s-device-plugin#133, #1169; gpu-operator#563; reproduced: a DRA claim with CEL took the right card",
        fix="Use a DRA claim that selects by product or memory, keep one model per node, or plan for the smaller card.",
    )
)
def mixed_models(scene: Scene) -> Iterator[Found]:
    """Look for pods with plain GPU limits that are bound to a mixed node of the cluster file."""
    for pod in scene.pods:
        node = bound_node(scene, pod)
        if node is None or not pod.gpus or pod.spec["resourceClaims"]:
            continue
        models = sorted({gpu.model or "unknown" for gpu in node.gpus or ()})
        if len(models) > 1 and pod.gpus < len(node.gpus or ()):
            one = next(each for each in pod.containers if each.gpus)
            what = f"any of {' and '.join(models)} of {node.name} may be given to {pod.gpus} plain {GPU_RESOURCE}"
            yield Found(place=one.tree["resources"].place, what=what, subject=pod.owner)


@checks(
    Rule(
        id="A12",
        name="gfd-label-on-mixed-node",
        severity=Severity.WARNING,
        summary="a label of GPU feature discovery, with a node of several models",
        practice="On a node with several models the labels of one overwrite those of the other, in an order that may "
        "change "
        "with each restart.",
        source="k8s-device-plugin, internal/lm: labels are written by ranging over a map of models",
        fix="Choose by a label of your own, or use a DRA claim.",
    )
)
def discovery_label(scene: Scene) -> Iterator[Found]:
    """Look for selectors on discovery's labels where the cluster file has a mixed node."""
    mixed = [node.name for node in _nodes(scene) if len({gpu.model for gpu in node.gpus or ()}) > 1]
    for pod in scene.pods if mixed else ():
        node = bound_node(scene, pod)
        if node is not None and node.name not in mixed:
            continue
        for label, place in _required_labels(pod):
            if label in _GFD_LABELS:
                what = f"{label} is not steady on {', '.join(mixed)}, which has several models"
                yield Found(place=place.place, what=what, subject=pod.owner)


@checks(
    Rule(
        id="A20",
        name="hostname-pin-mismatch",
        severity=Severity.ERROR,
        summary="a pod pinned to a host that is not in the cluster file",
        practice="The object is accepted and its pod stays Pending for ever.",
        source="reproduced on Kubernetes 1.36",
        fix="Write the node's name as `kubectl get nodes` shows it, or select by a label.",
    )
)
def unknown_hostname(scene: Scene) -> Iterator[Found]:
    """Look for host names that no node of the cluster file has."""
    names = {node.name for node in _nodes(scene)}
    for pod in scene.pods if names else ():
        pinned = pod.spec["nodeSelector"][HOSTNAME]
        name_field = pod.spec["nodeName"]
        for tree in (pinned, name_field):
            if tree.raw is not None and tree.raw not in names:
                what = f"there is no node {tree.raw!r} in the cluster file ({', '.join(sorted(names))})"
                yield Found(place=tree.place, what=what, subject=pod.owner)


def _nodes(scene: Scene) -> tuple[Node, ...]:
    return scene.cluster.nodes if scene.cluster else ()


def bound_node(scene: Scene, pod: Pod) -> Node | None:
    """The node of the cluster file that a pod is bound to, by its host name or by labels that one node alone has."""
    selector = {key: value.raw for key, value in pod.spec["nodeSelector"].items}
    if not selector:
        return None
    fitting = [
        node
        for node in _nodes(scene)
        if all({HOSTNAME: node.name, **node.labels}.get(key) == value for key, value in selector.items())
    ]
    return fitting[0] if len(fitting) == 1 else None


def _required_labels(pod: Pod) -> Iterator[tuple[str, Tree]]:
    """Labels that a node must have for the pod, with their places."""
    yield from pod.spec["nodeSelector"].items
    terms = pod.spec.at("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")[
        "nodeSelectorTerms"
    ]
    for term in terms.entries:
        for expression in term["matchExpressions"].entries:
            if expression["key"].raw:
                yield expression["key"].raw or "", expression["key"]
