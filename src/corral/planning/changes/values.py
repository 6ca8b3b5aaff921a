"""Changes of hardware as they are asked for, and what applying them gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from corral.cluster.values import Cluster
from corral.errors import Problem, ProblemsError
from corral.planning.labels import LabelChange
from corral.units import Bytes


class ChangesError(ProblemsError):
    """Changes that cannot be made; `problems` has every reason, each with where it was asked for."""

    code: ClassVar[str] = "changes.invalid"

    def __init__(self, problems: Sequence[Problem], *, readable: Sequence[Change] = ()) -> None:
        """Keep `readable`, the changes that could be read: their problems are reported together with the others."""
        super().__init__(problems)
        self.readable = tuple(readable)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class GpuAddress:
    """A GPU of the cluster file, as the file has it before any change."""

    node: str
    index: int

    def __str__(self) -> str:
        """Write it as pools do: `hydra-compute/gpu1`."""
        return f"{self.node}/gpu{self.index}"


GpuMoves = Mapping[GpuAddress, GpuAddress | None]
"""For every GPU before: the address afterwards of it, or of the one that replaced it; None when it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The fields that all changes have."""

    where: str
    """Where it was asked for: `--replace hydra-compute/gpu1`, or `changes.yaml:3:5`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceGpu(_Asked):
    """Another GPU comes into the place of this one."""

    gpu: GpuAddress
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddGpu(_Asked):
    """A GPU comes into a node, behind those that it has."""

    node: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveGpu(_Asked):
    """A GPU leaves the cluster."""

    gpu: GpuAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveGpu(_Asked):
    """A GPU goes to another node, behind those that it has."""

    gpu: GpuAddress
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddNode(_Asked):
    """A machine comes into the cluster."""

    name: str
    models: tuple[str, ...] = ()
    """Its GPUs, in the order of their indexes."""
    psu_w: int | None = None
    memory: Bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPower(_Asked):
    """A GPU, or every GPU that a node has in the end, gets a power limit."""

    node: str
    index: int | None
    """As the file has it before the changes, or the index that a GPU gets by them; None is every GPU of the node."""
    watts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPsu(_Asked):
    """A node gets a power supply of so many watts."""

    node: str
    watts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMemory(_Asked):
    """A node gets so much main memory."""

    node: str
    memory: Bytes


Change = ReplaceGpu | AddGpu | RemoveGpu | MoveGpu | AddNode | LimitPower | SetPsu | SetMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A change that was not asked for but follows, or a place that the user should look at."""

    what: str
    where: str
    """The place in the new text: `cluster.yaml:31:7 nodes[1].gpus[1]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The cluster file after the changes."""

    text: str
    cluster: Cluster
    before: Cluster
    notes: tuple[Note, ...] = ()
    labels: tuple[LabelChange, ...] = ()
    """Node labels that follow from the new GPUs."""
    moves: GpuMoves = field(default_factory=dict["GpuAddress", "GpuAddress | None"])
