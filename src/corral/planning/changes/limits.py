"""Which cards a power limit is for, and which of them can never draw as much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from corral.cluster.gpu_facts import FindGpu
from corral.cluster.values import Node
from corral.errors import CorralError
from corral.hardware.catalogue import GpuModel
from corral.hardware.declared import doubt_of_limit
from corral.planning.changes.values import GpuAddress, LimitPower


def limited_cards(
    limit: LimitPower,
    nodes: Mapping[str, Node],
    *,
    replaced: Mapping[GpuAddress, str],
    added: Mapping[str, list[str]],
) -> Iterator[tuple[GpuAddress, str]]:
    """List the cards with their models; those that come are called as `cards.arrange` calls them.

    A card that leaves its node is not looked for: it is told as a contradiction, or takes its own limit along.
    """
    gpus = nodes[limit.node].gpus or () if limit.node in nodes else ()
    models = {gpu.index: replaced.get(GpuAddress(node=limit.node, index=gpu.index), gpu.model) for gpu in gpus}
    models |= dict(enumerate(added.get(limit.node, ()), start=max(models, default=-1) + 1))
    for index, model in models.items():
        if model is not None and limit.index in (None, index):
            yield GpuAddress(node=limit.node, index=index), model


def too_high(watts: int, model: str, find_gpu: FindGpu) -> str | None:
    """Say why a limit is beyond all that boards of a model take; None when it is not, or when nobody knows."""
    try:
        found = find_gpu(model)
    except CorralError:
        return None  # of a model that is in no catalogue the file says what it knows
    if not isinstance(found, GpuModel) or found.tdp_w is None or watts <= found.tdp_w:
        return None
    doubt = doubt_of_limit(watts, found.tdp_w)
    return None if doubt is None else f"{doubt} ({found.name}: {found.source})"
