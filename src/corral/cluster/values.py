"""What a cluster file says, once it is checked.

Values are frozen; names are unique where the file requires it; references point at things that exist. What the file
leaves open is None: nothing is guessed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from corral.units import Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One card of a node."""

    index: int
    """Its place in the node, as the driver numbers it."""
    model: str | None = None
    """The catalogue's name (`RTX 5070 Ti`); None when it is to be read from the card."""
    uuid: str | None = None
    memory: Bytes | None = None
    """What the file says, else what the catalogue says; None when neither does."""
    power_limit_w: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine."""

    name: str
    address: str | None = None
    """Host name or IP address; None for the machine that the file is used on."""
    gpus: tuple[Gpu, ...] | None = None
    """None means: find them (NVML); an empty tuple means that there are none."""
    cpu_slots: int | None = None
    """How many tasks the processor takes at a time; None means: decide on the machine."""
    memory: Bytes | None = None
    cpu_cores: int | None = None
    cpu_model: str | None = None
    psu_w: int | None = None
    roles: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A running server of a remote engine (`comfyui`, `ollama`), bound to the slot it computes on."""

    name: str
    url: str
    node: str | None = None
    gpu: int | None = None
    """With `node`: the GPU it computes on. Without: the instance is a slot of its own."""
    memory: Bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How one engine is used; an engine that the file does not name has these defaults."""

    name: str
    enabled: bool = True
    """`command` is off unless the file turns it on."""
    instances: tuple[Instance, ...] = ()
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, "str | int | float | bool"])
    """The engine's own settings, such as `contextSize` or `computeType`; checked by the engine's schema."""


class QueueOrder(StrEnum):
    """How a queue orders its tasks inside a class."""

    PRIORITY = "priority"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """A queue and the pool it may use."""

    name: str
    pool: tuple[str, ...] | None = None
    """Slot selectors: a node (`hydra-compute`), a slot (`hydra-compute/gpu0`) or a node's CPU (`node/cpu`); None is all."""
    order: QueueOrder = QueueOrder.PRIORITY
    max_running_per_owner: int | None = None
    max_queued_per_owner: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long finished things are kept; None is for ever."""

    tasks: timedelta | None = timedelta(days=30)
    artifacts: timedelta | None = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The whole file."""

    name: str
    nodes: tuple[Node, ...]
    engines: Mapping[str, EngineSettings] = field(default_factory=dict[str, EngineSettings])
    queues: Mapping[str, QueueSettings] = field(default_factory=dict[str, QueueSettings])
    """Always holds `default`."""
    retention: Retention = Retention()
    data_dir: str | None = None
    database_url_env: str | None = None
    """The environment variable that holds a PostgreSQL URL; None means the embedded server."""
    promote_after: timedelta = timedelta(hours=1)
