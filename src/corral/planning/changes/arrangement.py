"""The GPUs of each node after the changes, and how the driver will number them.

The driver numbers the GPUs of a node by PCI bus, without gaps. So when a GPU leaves a node whose indexes had no gaps,
those behind it move up. A GPU that comes is taken to be the last; which slot it gets is only known once it is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from corral.cluster.values import Cluster, Node
from corral.planning.changes.checking import Wanted
from corral.planning.changes.values import GpuAddress, GpuMoves


class Fate(Enum):
    """What happens to a GPU, or to the place of one."""

    KEPT = auto()
    REPLACED = auto()
    MOVED = auto()
    ADDED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrangedGpu:
    """One GPU of a node after the changes."""

    at: GpuAddress
    """Its node and index after the changes."""
    called: GpuAddress
    """How a power limit names it: its place before, or behind all those that its node had before."""
    fate: Fate
    origin: GpuAddress | None = None
    """Its place in the file before; for one that replaces another, that one's."""
    model: str | None = None
    """The catalogue's name, of a GPU that is new."""


Arrangement = Mapping[str, tuple[ArrangedGpu, ...]]
"""By node: its GPUs in the order of the file, those that come last. Nodes without listed GPUs are not in it."""


def arrange(cluster: Cluster, wanted: Wanted) -> Arrangement:
    """Say which GPUs each node has after the changes."""
    before = {node.name: node for node in cluster.nodes if node.gpus is not None}
    for name in wanted.nodes:
        before.setdefault(name, Node(name=name, gpus=()))
    return {name: _list_gpus(node, wanted) for name, node in before.items()}


def map_moves(cluster: Cluster, arrangement: Arrangement) -> GpuMoves:
    """Map every GPU before to its address afterwards; None when it is gone."""
    after = {
        arranged.origin: arranged.at
        for gpus in arrangement.values()
        for arranged in gpus
        if arranged.origin is not None
    }
    addresses = [GpuAddress(node=node.name, index=gpu.index) for node in cluster.nodes for gpu in node.gpus or ()]
    return {address: after.get(address) for address in addresses}


def _list_gpus(node: Node, wanted: Wanted) -> tuple[ArrangedGpu, ...]:
    before = [gpu.index for gpu in node.gpus or ()]
    staying = [index for index in before if not _is_leaving(GpuAddress(node=node.name, index=index), wanted)]
    number = _number_staying(before, staying)
    gpus = [_keep(GpuAddress(node=node.name, index=index), number[index], wanted) for index in staying]
    called, at = max(before, default=-1) + 1, max(number.values(), default=-1) + 1
    incoming: list[tuple[GpuAddress | None, str | None]] = [
        (origin, None) for origin, to in wanted.moved.items() if to == node.name
    ]
    incoming += [(None, model) for model in wanted.added.get(node.name, ())]
    for step, (origin, model) in enumerate(incoming):
        gpus.append(
            ArrangedGpu(
                at=GpuAddress(node=node.name, index=at + step),
                called=GpuAddress(node=node.name, index=called + step) if origin is None else origin,
                fate=Fate.ADDED if origin is None else Fate.MOVED,
                origin=origin,
                model=model,
            )
        )
    return tuple(gpus)


def _is_leaving(gpu: GpuAddress, wanted: Wanted) -> bool:
    return gpu in wanted.removed or gpu in wanted.moved


def _number_staying(before: list[int], staying: list[int]) -> dict[int, int]:
    """Number the GPUs that stay: without a gap if there was none before, else as they are."""
    if sorted(before) != list(range(len(before))):
        return {index: index for index in staying}
    return {index: number for number, index in enumerate(sorted(staying))}


def _keep(address: GpuAddress, index: int, wanted: Wanted) -> ArrangedGpu:
    model = wanted.replaced.get(address)
    return ArrangedGpu(
        at=GpuAddress(node=address.node, index=index),
        called=address,
        fate=Fate.KEPT if model is None else Fate.REPLACED,
        origin=address,
        model=model,
    )
