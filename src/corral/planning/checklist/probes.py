"""Probes of automatic items: the evidence that settles each, in words, and its numbers.

How the evidence is got (NVML, kubectl, systemd, Corral's own API) is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass

from corral.figures import Figure
from corral.units import Bytes, format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedGpu:
    """A GPU that the cluster file puts into a node."""

    index: int
    model: str | None
    memory: Bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpusDetected:
    """The driver sees these GPUs, each on enough lanes: two GPUs on a consumer board have 8 each."""

    node: str
    gpus: tuple[WantedGpu, ...]

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        names = ", ".join(f"GPU {gpu.index} {gpu.model or 'of any model'}" for gpu in self.gpus)
        return f"the driver of {self.node} answers with {names or 'no GPU'}, each on 8 PCIe lanes or more"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverSuits:
    """The driver knows every GPU of the node."""

    node: str
    first_driver: tuple[int, int]
    """The first driver that runs the newest of the GPUs; its branch alone where the number is 0."""
    last_branch: int | None
    """The last branch that runs the oldest of the GPUs; None while new ones do."""
    open_modules: bool
    """Whether a GPU needs the open kernel modules."""

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        branch, number = self.first_driver
        words = [f"driver {branch}{f'.{number:02d}' if number else ''} or newer on {self.node}"]
        words += [f"of branch {self.last_branch} or older"] if self.last_branch else []
        words += ["with the open kernel modules"] if self.open_modules else []
        return ", ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLimitsSet:
    """GPUs have the power limits of the cluster file, which are in the range that each GPU takes."""

    node: str
    limits_w: tuple[tuple[int, int], ...]
    """GPU index and watts."""

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        return "the driver reports " + ", ".join(f"{watts} W for GPU {index}" for index, watts in self.limits_w)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsPersist:
    """A service that starts with the machine sets the power limits again."""

    node: str

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        return f"systemd of {self.node} has an enabled service that runs `nvidia-smi` with a power limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistenceOn:
    """The driver stays loaded while no GPU is used."""

    node: str
    gpus: tuple[int, ...]

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        return f"persistence mode is on for {_list_gpus(self.gpus)} of {self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTested:
    """The GPUs hold full load for a time, inside their limits."""

    node: str
    gpus: tuple[int, ...]
    seconds: int

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        return (
            f"{_list_gpus(self.gpus)} of {self.node} under load for {format_duration(self.seconds)}: no GPU lost, "
            "no thermal slowdown, no power brake, temperature under the driver's threshold"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationRendered:
    """The file that a node's system is made from is as the new cluster file has it."""

    path: str
    """Below the folder that `corral render` wrote to, which is the current one."""
    text: str
    """The rendered text; its first line, which names the cluster file, does not count."""

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        return f"{self.path}, in this folder, is what `corral render` writes from the new cluster file"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReady:
    """Kubernetes takes the node as ready and offers as many GPUs on it as it has."""

    node: str
    gpus: int
    by_claim: bool = False
    """Whether GPUs are claimed: then NVIDIA's DRA driver offers them, and `nvidia.com/gpu` is nothing there."""

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        offered = "GPUs in its ResourceSlices" if self.by_claim else "allocatable nvidia.com/gpu"
        return f"node {self.node} is Ready, open for pods, and has {self.gpus} {offered}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsOnNode:
    """The node carries these labels, and no longer those."""

    node: str
    labels: tuple[tuple[str, str], ...]
    gone: tuple[str, ...]

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        there = ", ".join(f"{key}={value}" for key, value in self.labels)
        gone = f"; without {', '.join(self.gone)}" if self.gone else ""
        return f"node {self.node} has {there or 'no label of the file'}{gone}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPodsAlive:
    """Every pod of the node that asked for a GPU still reaches it."""

    node: str

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        return f"`nvidia-smi -L` answers in every running pod on {self.node} that asked for a GPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicasReady:
    """A Deployment or StatefulSet has so many replicas, all of them ready."""

    kind: str
    """As Kubernetes spells it."""
    name: str
    namespace: str
    replicas: int

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        return f"{self.kind} {self.name} has {self.replicas} of {self.replicas} replicas ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotsKnown:
    """Corral runs with the new file: it has a slot for every GPU."""

    slots: tuple[str, ...]
    gone: tuple[str, ...]

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        gone = f", and no longer {', '.join(self.gone)}" if self.gone else ""
        return f"the Corral server has the slots {', '.join(self.slots) or '(none)'}{gone}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePools:
    """Corral's queues have the pools of the new file."""

    pools: tuple[tuple[str, tuple[str, ...] | None], ...]
    """Queue and selectors; None is every slot."""

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        queues = "; ".join(
            f"{name} on {', '.join(pool) if pool is not None else 'every slot'}" for name, pool in self.pools
        )
        return f"the Corral server has the queues {queues}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEmpty:
    """A queue that goes has no task left that waits or runs."""

    queue: str

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        return f"queue {self.queue} has no task that waits or runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllBusyAtOnce:
    """Tasks run on all these slots in the same moment."""

    slots: tuple[str, ...]

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        return f"a task runs on each of {', '.join(self.slots)} in the same moment"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputReached:
    """The queue does as much of a workload as was forecast."""

    workload: str
    engine: str
    slots: tuple[str, ...]
    unit: str
    per_hour: Figure
    """The throughput of all slots in an hour, according to the forecast."""

    @property
    def wanted(self) -> str:
        """The evidence, in words."""
        return f"{self.per_hour.value:,.0f} {self.unit}s an hour on {', '.join(self.slots)} ({self.per_hour.source})"


Probe = (
    GpusDetected
    | DriverSuits
    | PowerLimitsSet
    | LimitsPersist
    | PersistenceOn
    | LoadTested
    | ConfigurationRendered
    | NodeReady
    | LabelsOnNode
    | GpuPodsAlive
    | ReplicasReady
    | SlotsKnown
    | QueuePools
    | QueueEmpty
    | AllBusyAtOnce
    | ThroughputReached
)


def _list_gpus(indexes: tuple[int, ...]) -> str:
    return ("GPU " if len(indexes) == 1 else "GPUs ") + ", ".join(str(index) for index in indexes)
