"""Sharing of one GPU by several pods: what shares nothing but the card's time, and what only counts."""

from __future__ import annotations

from collections.abc import Iterator

from corral.linting.corpus import Scene
from corral.linting.registry import Found, checks

_PRODUCT = "nvidia.com/gpu.product"
_KAI = ("gpu-fraction", "gpu-memory")
_DEVICE_PLUGIN = "k8s-device-plugin"
_DRA_DRIVERS = ("k8s-dra-driver-gpu", "dra-driver-nvidia-gpu")


@checks("A13")
def renamed_product(scene: Scene) -> Iterator[Found]:
    """Look for product selectors in a set that also configures time-slicing."""
    settings = list(scene.under("timeSlicing"))
    if not settings or any(one.tree["renameByDefault"].boolean for one in settings):
        return  # with renameByDefault the resource gets another name, the product does not
    for pod in scene.pods:
        product = pod.spec["nodeSelector"][_PRODUCT]
        if product.raw is not None and not product.raw.endswith("-SHARED"):
            what = f"{_PRODUCT}={product.raw} no longer matches once time-slicing is on"
            yield Found(place=product.place, what=what, subject=pod.owner)


@checks("A14")
def time_slicing(scene: Scene) -> Iterator[Found]:
    """Look for the device plugin's setting."""
    for spot in scene.under("timeSlicing"):
        if spot.tree["resources"] and spot.path[-2:] == ("sharing", "timeSlicing"):
            place = spot.tree.key or spot.tree.place
            yield Found(place=place, what="GPUs are shared in time, without limits between pods", subject=spot.subject)


@checks("A15")
def counted_fraction(scene: Scene) -> Iterator[Found]:
    """Look for KAI's annotations."""
    for pod in scene.pods:
        for name in _KAI:
            annotation = pod.template["metadata"]["annotations"][name]
            if annotation:
                what = f"{name} {annotation.raw} is counted by the scheduler and enforced by nothing"
                yield Found(place=annotation.place, what=what, subject=pod.owner)


@checks("A32")
def both_drivers(scene: Scene) -> Iterator[Found]:
    """Look for DaemonSets of both."""
    plugins = [one for one in scene.containers if _DEVICE_PLUGIN in (one.image or "")]
    for one in scene.containers if plugins else ():
        is_driver = one.pod.owner.kind == "DaemonSet" and any(name in (one.image or "") for name in _DRA_DRIVERS)
        if is_driver and "compute-domain" not in one.name:  # which offers no cards
            what = f"the DRA driver beside the device plugin of {plugins[0].pod.owner}"
            yield Found(place=one.tree["image"].place, what=what, subject=one.pod.owner)


@checks("A31")
def mig_without_mig(scene: Scene) -> Iterator[Found]:
    """Look for MIG devices where the cluster file has GeForce cards only."""
    models = [gpu.model or "" for node in (scene.cluster.nodes if scene.cluster else ()) for gpu in node.gpus or ()]
    if not models or not all(model.startswith(("RTX 2", "RTX 3", "RTX 4", "RTX 5", "GTX")) for model in models):
        return
    for one in scene.containers:
        for name, value in one.tree["resources"]["limits"].items:
            if name.startswith("nvidia.com/mig-"):
                what = f"{name}, and the cluster's cards have no MIG"
                yield Found(place=value.key or value.place, what=what, subject=one.pod.owner)
