"""The GPUs and nodes of a cluster as placement sees them: what of their memory may be planned with."""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Cluster, Gpu, Node
from corral.hardware.fit.overheads import usable
from corral.planning.placement.values import Card

NODE_RESERVE = 2 * 2**30
"""Bytes of main memory of every node that are planned for nobody: assumed for the operating system, the kubelet and the
container runtime (the K3s documentation measures 1.6 GiB for a server with a small load, 0.3 GiB for an agent).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A node with the cards that the file names, and the main memory that may be planned with."""

    name: str
    cards: tuple[Card, ...]
    described: bool
    """Whether the file says which GPUs it has."""
    memory: int | None
    """Bytes; None is unknown, and then nothing is held against it."""


def machines_of(cluster: Cluster) -> tuple[Machine, ...]:
    """List the nodes in the order of the file."""
    return tuple(_machine(node) for node in cluster.nodes)


def _machine(node: Node) -> Machine:
    return Machine(
        name=node.name,
        cards=tuple(sorted((_card(node.name, gpu) for gpu in node.gpus or ()), key=lambda card: card.index)),
        described=node.gpus is not None,
        memory=None if node.memory is None else max(0, node.memory - NODE_RESERVE),
    )


def _card(node: str, gpu: Gpu) -> Card:
    room = None if gpu.memory is None else usable(gpu.memory)
    return Card(node=node, index=gpu.index, model=gpu.model, memory=gpu.memory, usable=room)
