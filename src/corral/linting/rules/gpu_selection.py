"""GPU selection: selectors, several models on one node, and GPUs that several pods share."""

from __future__ import annotations

from collections.abc import Iterator

from corral.cluster.values import Node
from corral.linting.corpus import Corpus
from corral.linting.manifests import GPU_RESOURCE, Pod
from corral.linting.registry import Violation, checks
from corral.linting.tree import Tree

HOSTNAME = "kubernetes.io/hostname"
_GFD_LABELS = ("nvidia.com/gpu.product", "nvidia.com/gpu.memory", "nvidia.com/gpu.family", "nvidia.com/gpu.compute")


@checks("A01", of_files=True)
def check_topology_key(corpus: Corpus) -> Iterator[Violation]:
    """Look for topology keys that name a resource."""
    for spot in corpus.find_under("topologyKey"):
        if spot.tree.raw == GPU_RESOURCE:
            what = f"topologyKey {spot.tree.raw!r} is not a node label"
            yield Violation(place=spot.tree.place, what=what, subject=spot.subject)


@checks("A11")
def check_mixed_models(corpus: Corpus) -> Iterator[Violation]:
    """Look for pods with plain GPU limits that are bound to a mixed node of the cluster file."""
    for pod in corpus.pods:
        node = find_bound_node(corpus, pod)
        if node is None or not pod.gpus or pod.spec["resourceClaims"]:
            continue
        gpus = corpus.list_nvidia_gpus(node)
        models = sorted({gpu.model or "unknown" for gpu in gpus})
        if len(models) > 1 and pod.gpus < len(gpus):
            first = next(container for container in pod.containers if container.gpus)
            what = f"any of {' and '.join(models)} of {node.name} can be allocated to {pod.gpus} plain {GPU_RESOURCE}"
            yield Violation(place=first.tree["resources"].place, what=what, subject=pod.owner)


@checks("A12")
def check_discovery_labels(corpus: Corpus) -> Iterator[Violation]:
    """Look for selectors on discovery's labels where the cluster file has a mixed node."""
    mixed = [node.name for node in _list_nodes(corpus) if len({gpu.model for gpu in corpus.list_nvidia_gpus(node)}) > 1]
    for pod in corpus.pods if mixed else ():
        node = find_bound_node(corpus, pod)
        if node is not None and node.name not in mixed:
            continue
        for label, place in _list_required_labels(pod):
            if label in _GFD_LABELS:
                what = f"{label} is unstable on {', '.join(mixed)}, which has several models"
                yield Violation(place=place.place, what=what, subject=pod.owner)


@checks("A20")
def check_hostnames(corpus: Corpus) -> Iterator[Violation]:
    """Look for host names that no node of the cluster file has."""
    names = {node.name for node in _list_nodes(corpus)}
    for pod in corpus.pods if names else ():
        pinned = pod.spec["nodeSelector"][HOSTNAME]
        name_field = pod.spec["nodeName"]
        for tree in (pinned, name_field):
            if tree.raw is not None and tree.raw not in names:
                what = f"there is no node {tree.raw!r} in the cluster file ({', '.join(sorted(names))})"
                yield Violation(place=tree.place, what=what, subject=pod.owner)


def _list_nodes(corpus: Corpus) -> tuple[Node, ...]:
    return corpus.cluster.nodes if corpus.cluster else ()


def find_bound_node(corpus: Corpus, pod: Pod) -> Node | None:
    """The node of the cluster file that a pod is bound to, by its host name or by labels that one node alone has."""
    selector = {key: value.raw for key, value in pod.spec["nodeSelector"].items}
    if not selector:
        return None
    fitting = [
        node
        for node in _list_nodes(corpus)
        if all({HOSTNAME: node.name, **node.labels}.get(key) == value for key, value in selector.items())
    ]
    return fitting[0] if len(fitting) == 1 else None


def _list_required_labels(pod: Pod) -> Iterator[tuple[str, Tree]]:
    """Labels that a node must have for the pod, with their places."""
    yield from pod.spec["nodeSelector"].items
    terms = pod.spec.follow("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")[
        "nodeSelectorTerms"
    ]
    for term in terms.entries:
        for expression in term["matchExpressions"].entries:
            if expression["key"].raw:
                yield expression["key"].raw or "", expression["key"]


_PRODUCT = "nvidia.com/gpu.product"
_KAI = ("gpu-fraction", "gpu-memory")
_DEVICE_PLUGIN = "k8s-device-plugin"
_DRA_DRIVERS = ("k8s-dra-driver-gpu", "dra-driver-nvidia-gpu")


@checks("A13")
def check_renamed_product(corpus: Corpus) -> Iterator[Violation]:
    """Look for product selectors in a set that also configures time-slicing."""
    settings = list(corpus.find_under("timeSlicing"))
    if not settings or any(spot.tree["renameByDefault"].boolean for spot in settings):
        return  # with renameByDefault the resource gets another name, the product does not
    for pod in corpus.pods:
        product = pod.spec["nodeSelector"][_PRODUCT]
        if product.raw is not None and not product.raw.endswith("-SHARED"):
            what = f"{_PRODUCT}={product.raw} no longer matches once time-slicing is on"
            yield Violation(place=product.place, what=what, subject=pod.owner)


@checks("A14", of_files=True)
def check_time_slicing(corpus: Corpus) -> Iterator[Violation]:
    """Look for the device plugin's setting."""
    for spot in corpus.find_under("timeSlicing"):
        if spot.tree["resources"] and spot.path[-2:] == ("sharing", "timeSlicing"):
            place = spot.tree.key or spot.tree.place
            yield Violation(
                place=place, what="GPUs are shared in time, without limits between pods", subject=spot.subject
            )


@checks("A15")
def check_counted_fraction(corpus: Corpus) -> Iterator[Violation]:
    """Look for KAI's annotations."""
    for pod in corpus.pods:
        for name in _KAI:
            annotation = pod.template["metadata"]["annotations"][name]
            if annotation:
                what = f"{name} {annotation.raw} is counted by the scheduler and enforced by nothing"
                yield Violation(place=annotation.place, what=what, subject=pod.owner)


@checks("A32")
def check_both_drivers(corpus: Corpus) -> Iterator[Violation]:
    """Look for DaemonSets of both."""
    plugins = [container for container in corpus.containers if _DEVICE_PLUGIN in (container.image or "")]
    for container in corpus.containers if plugins else ():
        is_driver = container.pod.owner.kind == "DaemonSet" and any(
            name in (container.image or "") for name in _DRA_DRIVERS
        )
        if is_driver and "compute-domain" not in container.name:  # it offers no GPUs
            what = f"the DRA driver runs next to the device plugin of {plugins[0].pod.owner}"
            yield Violation(place=container.tree["image"].place, what=what, subject=container.pod.owner)


@checks("A31")
def check_mig(corpus: Corpus) -> Iterator[Violation]:
    """Look for MIG devices where the cluster file has GeForce GPUs only."""
    models = [gpu.model or "" for node in (corpus.cluster.nodes if corpus.cluster else ()) for gpu in node.gpus or ()]
    if not models or not all(model.startswith(("RTX 2", "RTX 3", "RTX 4", "RTX 5", "GTX")) for model in models):
        return
    for container in corpus.containers:
        for name, value in container.tree["resources"]["limits"].items:
            if name.startswith("nvidia.com/mig-"):
                what = f"{name}, and the cluster's GPUs have no MIG"
                yield Violation(place=value.key or value.place, what=what, subject=container.pod.owner)
