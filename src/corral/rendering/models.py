"""Which of a service's models its cards can hold: what cannot run is not pulled and not routed to (pitfall B08)."""

from __future__ import annotations

from corral.hardware.fit.names import need_of
from corral.rendering.installation import Deployed, Installation
from corral.units import format_bytes


def models_that_fit(installation: Installation, one: Deployed) -> tuple[str, ...]:
    """Models of a service that its cards can hold; those of which nothing is known count as fitting."""
    return tuple(model for model in one.service.models if why_not(installation, one, model) is None)


def why_not(installation: Installation, one: Deployed, model: str) -> str | None:
    """Say why a model cannot run where its service does; None when it can, or when too little is known."""
    has = _memory(installation, one)
    needs = [need for engine in one.service.engines if (need := need_of(engine, model)) is not None]
    if not needs or not has:
        return None
    needed = needs[0].on(1)
    if needed <= has:
        return None
    return f"{model} needs about {format_bytes(needed)}, and its cards have {format_bytes(has)}"


def _memory(installation: Installation, one: Deployed) -> int:
    """VRAM of the cards that a replica may get: of its node, else of the node that has most; 0 when it is unknown."""
    totals: list[int] = []
    for node in installation.cluster.nodes:
        cards = [gpu for gpu in node.gpus or () if one.gpus is None or node.name != one.node or gpu.index in one.gpus]
        sizes = sorted((gpu.memory or 0 for gpu in cards), reverse=True)
        if one.node in (None, node.name) and sizes and 0 not in sizes:
            totals.append(sum(sizes[: max(1, one.gpu_count)]))
    return max(totals, default=0)
