"""Sharing of one GPU by several pods: what shares nothing but the card's time, and what only counts."""

from __future__ import annotations

from collections.abc import Iterator

from corral.linting.registry import Found, checks
from corral.linting.scene import Scene
from corral.linting.values import Rule, Severity

_PRODUCT = "nvidia.com/gpu.product"
_KAI = ("gpu-fraction", "gpu-memory")
_DEVICE_PLUGIN = "k8s-device-plugin"
_DRA_DRIVERS = ("k8s-dra-driver-gpu", "dra-driver-nvidia-gpu")


@checks(
    Rule(
        id="A13",
        name="product-selector-shared-suffix",
        severity=Severity.WARNING,
        summary="a selector on the product's name where time-slicing renames it",
        practice="With time-slicing the label becomes `<name>-SHARED`, the selector stops matching, and pods stay "
        "Pending.",
        source="README of NVIDIA's k8s-device-plugin, section on shared access",
        fix="Select `<name>-SHARED`, set `renameByDefault` and select the resource, or choose by a label of your own.",
    )
)
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


@checks(
    Rule(
        id="A14",
        name="time-slicing-no-isolation",
        severity=Severity.WARNING,
        summary="time-slicing of GPUs",
        practice="There is no memory limit between the pods, a crash of one takes all, and sharing is per node, not "
        "per GPU; "
        "a pod that asks for two shares fails with UnexpectedAdmissionError.",
        source="README of NVIDIA's k8s-device-plugin, section on shared access",
        fix="Keep a VRAM budget for each pod, use MPS with memory limits, or run the work one after the other in a "
        "queue.",
    )
)
def time_slicing(scene: Scene) -> Iterator[Found]:
    """Look for the device plugin's setting."""
    for spot in scene.under("timeSlicing"):
        if spot.tree["resources"] and spot.path[-2:] == ("sharing", "timeSlicing"):
            place = spot.tree.key or spot.tree.place
            yield Found(place=place, what="GPUs are shared in time, without limits between pods", subject=spot.subject)


@checks(
    Rule(
        id="A15",
        name="kai-fraction-not-enforced",
        severity=Severity.WARNING,
        summary="a GPU fraction that is only counted",
        practice="KAI's scheduler adds the fractions up and limits nothing: a pod can take the whole card.",
        source="KAI-Scheduler, docs/gpu-sharing; KAI#45, #49",
        fix="Set the limit in the program too (`--gpu-memory-utilization`, `--lowvram`), or use HAMi or MPS.",
    )
)
def counted_fraction(scene: Scene) -> Iterator[Found]:
    """Look for KAI's annotations."""
    for pod in scene.pods:
        for name in _KAI:
            annotation = pod.template["metadata"]["annotations"][name]
            if annotation:
                what = f"{name} {annotation.raw} is counted by the scheduler and enforced by nothing"
                yield Found(place=annotation.place, what=what, subject=pod.owner)


@checks(
    Rule(
        id="A32",
        name="dra-plus-device-plugin",
        severity=Severity.ERROR,
        summary="NVIDIA's DRA driver beside its device plugin",
        practice="Both offer the same cards, so one card is given twice; the driver's chart refuses to be installed "
        "so.",
        source="templates/validation.yaml of the DRA driver's chart",
        fix="Keep one of the two.",
    )
)
def both_drivers(scene: Scene) -> Iterator[Found]:
    """Look for DaemonSets of both."""
    plugins = [one for one in scene.containers if _DEVICE_PLUGIN in (one.image or "")]
    for one in scene.containers if plugins else ():
        is_driver = one.pod.owner.kind == "DaemonSet" and any(name in (one.image or "") for name in _DRA_DRIVERS)
        if is_driver and "compute-domain" not in one.name:  # which offers no cards
            what = f"the DRA driver beside the device plugin of {plugins[0].pod.owner}"
            yield Found(place=one.tree["image"].place, what=what, subject=one.pod.owner)


@checks(
    Rule(
        id="A31",
        name="mig-on-geforce",
        severity=Severity.NOTE,
        summary="MIG where no card has it",
        practice="MIG exists on data centre cards only; a profile or strategy has no effect, and a pod that asks for "
        "a MIG "
        "device stays Pending.",
        source="NVIDIA Multi-Instance GPU user guide, supported GPUs",
        fix="Remove it.",
    )
)
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
