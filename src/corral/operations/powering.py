"""Works out the power of every node of a cluster file, with the bounds that a driver gives where one is at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from corral.cluster import Cluster
from corral.errors import CorralError, Kind, did_you_mean
from corral.hardware.power import LimitRange, NodePower, compute_power, find_models
from corral.operations.cluster_file import FileText, check_cluster
from corral.telemetry.nvml import NvmlReading, NvmlStatus, find_gpus


class NoSuchNodeError(CorralError):
    """The cluster file has no node of this name."""

    code: ClassVar[str] = "power.no_such_node"
    kind: ClassVar[Kind] = Kind.MISSING


class NoDriverError(CorralError):
    """The driver of this machine should be asked, and cannot be."""

    code: ClassVar[str] = "power.no_driver"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerAsked:
    """A cluster file whose nodes' power is worked out."""

    cluster: FileText
    here: str | None = None
    """The node that this machine is: its driver is asked which power limits its GPUs take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerAnswer:
    """The power of a cluster's nodes, in the order of its file."""

    cluster: str
    nodes: tuple[NodePower, ...]


def work_out_power(asked: PowerAsked, *, look: Callable[[], NvmlReading] = find_gpus) -> PowerAnswer:
    """Work out the power of each node. Raises: ClusterFileError, NoSuchNodeError, NoDriverError."""
    file, here = check_cluster(asked.cluster), asked.here
    cluster = file.cluster
    _require_node(cluster, here, file.name)
    models = find_models(cluster.nodes)
    ranges = _read_ranges(look()) if here else None
    nodes = tuple(
        compute_power(
            node,
            models,
            electricity=cluster.electricity,
            night=cluster.night,
            ranges=ranges if node.name == here else None,
        )
        for node in cluster.nodes
    )
    return PowerAnswer(cluster=cluster.name, nodes=nodes)


def _read_ranges(reading: NvmlReading) -> Mapping[int, LimitRange]:
    if reading.status is not NvmlStatus.OK:
        raise NoDriverError(
            f"this machine's driver cannot be asked which limits its GPUs take: {reading.reason}",
            hint="run `corral doctor`, or leave out `--here`",
        )
    return {
        gpu.index: LimitRange(minimum_w=gpu.power_limit_range_w[0], maximum_w=gpu.power_limit_range_w[1])
        for gpu in reading.gpus
        if gpu.power_limit_range_w is not None
    }


def _require_node(cluster: Cluster, name: str | None, where: str) -> None:
    names = [node.name for node in cluster.nodes]
    if name is None or name in names:
        return
    hint = did_you_mean(name, names, otherwise=f"its nodes are {', '.join(names)}")
    raise NoSuchNodeError(f"the cluster file has no node {name!r}", where=where, hint=hint)
