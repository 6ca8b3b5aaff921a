"""The changes of each node: the GPUs that come, go and stay, and other differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from corral.cluster.values import Cluster, Gpu, Node
from corral.hardware.catalogue import GpuModel
from corral.hardware.makers import NVIDIA
from corral.hardware.power import find_models


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChange:
    """One node that differs, before and after."""

    before: Node | None
    """None: the node comes with the upgrade."""
    after: Node
    came: tuple[Gpu, ...]
    """GPUs that are new in their place."""
    went: tuple[Gpu, ...]
    models: Mapping[str, GpuModel]
    """The catalogue's facts, by the names in the file."""

    @property
    def name(self) -> str:
        """The node's name."""
        return self.after.name

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """Its GPUs after the upgrade, in order of their index."""
        return tuple(sorted(self.after.gpus or (), key=lambda gpu: gpu.index))

    @property
    def nvidia(self) -> tuple[Gpu, ...]:
        """Its GPUs after the upgrade that NVIDIA's driver answers for; one of unknown model is taken for one."""
        return tuple(gpu for gpu in self.gpus if self._is_nvidia(gpu))

    @property
    def others(self) -> tuple[Gpu, ...]:
        """Its GPUs after the upgrade of other makers."""
        return tuple(gpu for gpu in self.gpus if not self._is_nvidia(gpu))

    @property
    def hardware_differs(self) -> bool:
        """Whether the machine must be opened for its GPUs."""
        return bool(self.came or self.went)

    @property
    def limits(self) -> tuple[tuple[int, int], ...]:
        """GPU index and watts of all power limits after the upgrade, when they differ or belong to a new GPU."""
        old = {gpu.index: gpu.power_limit_w for gpu in (self.before.gpus if self.before else None) or ()}
        new = tuple((gpu.index, gpu.power_limit_w) for gpu in self.gpus if gpu.power_limit_w is not None)
        is_new = any(gpu in self.came for gpu in self.gpus if gpu.power_limit_w is not None)
        return new if is_new or any(old.get(index) != watts for index, watts in new) else ()

    @property
    def removed_labels(self) -> tuple[str, ...]:
        """Keys that the node had and no longer has."""
        return tuple(key for key in (self.before.labels if self.before else ()) if key not in self.after.labels)

    @property
    def new_labels(self) -> tuple[tuple[str, str], ...]:
        """Labels that are added or get another value."""
        old = dict(self.before.labels) if self.before else dict[str, str]()
        return tuple((key, value) for key, value in self.after.labels.items() if old.get(key) != value)

    def _is_nvidia(self, gpu: Gpu) -> bool:
        model = self.models.get(gpu.model or "")
        return model is None or model.vendor == NVIDIA


def list_changed_nodes(before: Cluster, after: Cluster) -> tuple[NodeChange, ...]:
    """List the nodes of `after` that differ, in the order of the file."""
    old = {node.name: node for node in before.nodes}
    models = find_models([*before.nodes, *after.nodes])
    return tuple(
        _change(old.get(node.name), node, models)
        for node in after.nodes
        if _describe_machine(old.get(node.name)) != _describe_machine(node)
    )


def list_gone_nodes(before: Cluster, after: Cluster) -> tuple[Node, ...]:
    """List the nodes that leave the cluster."""
    names = {node.name for node in after.nodes}
    return tuple(node for node in before.nodes if node.name not in names)


def _describe_machine(node: Node | None) -> tuple[object, ...] | None:
    """Take what an upgrade of hardware can change; None stands for a missing node."""
    if node is None:
        return None
    return (node.gpus, node.psu_w, node.memory, node.os, node.k3s_role, dict(node.labels))


def _change(before: Node | None, after: Node, models: Mapping[str, GpuModel]) -> NodeChange:
    old, new = _index_gpus(before), _index_gpus(after)
    return NodeChange(
        before=before,
        after=after,
        came=tuple(gpu for place, gpu in new.items() if place not in old),
        went=tuple(gpu for place, gpu in old.items() if place not in new),
        models=models,
    )


def _index_gpus(node: Node | None) -> dict[tuple[object, ...], Gpu]:
    """Index a node's GPUs by what makes a GPU another GPU; a power limit does not."""
    return {(gpu.index, gpu.model, gpu.memory): gpu for gpu in (node.gpus if node else None) or ()}
