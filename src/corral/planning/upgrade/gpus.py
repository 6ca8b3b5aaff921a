"""The GPUs of a cluster with what the catalogue knows of each."""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Cluster, Gpu, Node
from corral.hardware.catalogue import GpuModel, resolve_gpu
from corral.hardware.power.values import NVIDIA
from corral.units import Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGpu:
    """One GPU at its place; None where neither the file nor the catalogue says."""

    node: str
    index: int
    model: str | None
    memory: Bytes | None
    power_limit_w: int | None = None
    facts: GpuModel | None = None

    @property
    def name(self) -> str:
        """Its place, as selectors spell it: `hydra-compute/gpu1`."""
        return f"{self.node}/gpu{self.index}"

    @property
    def is_nvidia(self) -> bool:
        """Whether it is known to take NVIDIA's commands."""
        return self.facts is not None and self.facts.vendor == NVIDIA

    @property
    def title(self) -> str:
        """The model as people say it, or words that replace it."""
        return self.model or "a GPU of unknown model"


def list_gpus(node: Node) -> tuple[NodeGpu, ...]:
    """List a node's GPUs in order of their index; empty when it has none, or when the file does not say."""
    return tuple(_make_gpu(node, gpu) for gpu in sorted(node.gpus or (), key=lambda gpu: gpu.index))


def list_all_gpus(cluster: Cluster) -> tuple[NodeGpu, ...]:
    """List the GPUs of all nodes, in the order of the file."""
    return tuple(gpu for node in cluster.nodes for gpu in list_gpus(node))


def _make_gpu(node: Node, gpu: Gpu) -> NodeGpu:
    return NodeGpu(
        node=node.name,
        index=gpu.index,
        model=gpu.model,
        memory=gpu.memory,
        power_limit_w=gpu.power_limit_w,
        facts=resolve_gpu(gpu.model, memory=gpu.memory),
    )
