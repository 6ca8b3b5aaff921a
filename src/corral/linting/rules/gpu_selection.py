"""How a pod asks for a GPU, and how it chooses between them."""

from __future__ import annotations

from collections.abc import Iterator

from corral.linting.objects import GPU_RESOURCE
from corral.linting.registry import Found, checks
from corral.linting.scene import Scene
from corral.linting.values import Rule, Severity


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
