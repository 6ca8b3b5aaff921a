"""Who gives way to whom, and what keeps a node from being drained."""

from __future__ import annotations

from collections.abc import Iterator

from corral.linting.corpus import Scene
from corral.linting.objects import Object
from corral.linting.registry import Found, checks

_SERVING = frozenset({"Deployment", "StatefulSet"})


@checks("A23")
def no_priority(scene: Scene) -> Iterator[Found]:
    """Look for serving GPU pods without a class where the files define classes above 0 that may preempt."""
    above = [
        one.name
        for one in scene.of_kind("PriorityClass")
        if (one.tree["value"].number or 0) > 0 and one.tree["preemptionPolicy"].raw != "Never"
    ]
    if not above or any(one.tree["globalDefault"].boolean for one in scene.of_kind("PriorityClass")):
        return
    for pod in scene.pods:
        if pod.owner.kind in _SERVING and pod.gpus and not pod.spec["priorityClassName"]:
            place = pod.spec["containers"].key or pod.spec.place
            what = f"has no priority class; pods of {', '.join(str(name) for name in above)} evict it"
            yield Found(place=place, what=what, subject=pod.owner)


@checks("A24")
def budget_without_room(scene: Scene) -> Iterator[Found]:
    """Look for budgets that allow no pod of their workload to go."""
    for one in scene.of_kind("PodDisruptionBudget"):
        spec = one.tree["spec"]
        least, most = spec["minAvailable"], spec["maxUnavailable"]
        if most.raw in ("0", "0%"):
            yield Found(place=most.place, what=f"maxUnavailable is {most.raw}", subject=one)
            continue
        replicas = [_fewest(scene, target) for target in _targets(scene, one)]
        if not replicas or None in replicas or not least:
            continue
        most_kept = max(number or 0 for number in replicas)
        if least.raw == "100%" or (least.number is not None and least.number >= most_kept > 0):
            what = f"minAvailable is {least.raw}, with {most_kept} replicas"
            yield Found(place=least.place, what=what, subject=one)


def _fewest(scene: Scene, one: Object) -> int | None:
    """The fewest replicas that are kept; None when something decides that the files do not show."""
    for scaler in scene.of_kind("HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler.tree["spec"]["scaleTargetRef"]
        if scaler.namespace == one.namespace and target["name"].raw in {one.name, *one.was_called}:
            return (scaler.tree["spec"]["minReplicas"].number or 1) if scaler.kind != "ScaledObject" else None
    return one.replicas


def _targets(scene: Scene, budget: Object) -> Iterator[Object]:
    wanted = {key: value.raw or "" for key, value in budget.tree.at("spec", "selector", "matchLabels").items}
    for pod in scene.labelled(wanted, budget.namespace):
        if pod.owner.kind in _SERVING:
            yield pod.owner
