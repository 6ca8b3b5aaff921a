"""The outcome of an import: services, volumes and machines, each with its place, and the gaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from corral.cluster.values import Exposure, K3sRole, Route, SecretKey, ServiceKind, StorageKind
from corral.linting.values import Position
from corral.units import Bytes


class Origin(StrEnum):
    """The kind of input, and so the target that is rendered to compare with it."""

    COMPOSE = "compose"
    KUBERNETES = "kubernetes"
    LITELLM = "litellm"


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """A part of the input that the cluster file does not have."""

    place: Position
    what: str
    """The object and the field, and why where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedVolume:
    """A volume, as services mount it."""

    name: str
    kind: StorageKind
    node: str | None = None
    server: str | None = None
    path: str | None = None
    size: Bytes | None = None
    mount_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedService:
    """A container that stays, or runs to its end."""

    name: str
    """Its address for other services."""
    origin: Origin
    place: Position
    namespace: str | None = None
    pod: str | None = None
    """The pod that it shares with others; None for one of its own."""
    is_job: bool = False
    kind: ServiceKind = ServiceKind.SERVER
    engines: tuple[str, ...] = ()
    """Those that the input names; others follow from the image."""
    models: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    """Services that the input says it calls; others follow from the addresses in its variables."""
    routes: tuple[Route, ...] = ()
    served: Mapping[str, str] = field(default_factory=dict[str, str])
    """For LiteLLM: the model behind each name that clients use."""
    image: str | None = None
    command: tuple[str, ...] = ()
    port: int | None = None
    replicas: int = 1
    gpus: int = 0
    gpu_ids: tuple[str, ...] = ()
    """Indexes and UUIDs of the GPUs that it is given by name."""
    every_gpu: bool = False
    """Whether it is given all GPUs of its machine, however many those are."""
    node: str | None = None
    gpu_model: str | None = None
    """The model that it selects its node by."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, SecretKey] = field(default_factory=dict[str, SecretKey])
    config_map: str | None = None
    mounts: Mapping[str, str] = field(default_factory=dict[str, str])
    """Paths by volume."""
    memory_request: Bytes | None = None
    memory_limit: Bytes | None = None
    exposed: Exposure | None = None
    has_addresses_of_replicas: bool = False
    """Whether each replica is reached by itself, rather than all by one address."""
    health_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedGpu:
    """A GPU of a machine; its model and UUID where something names them."""

    index: int
    model: str | None = None
    uuid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine that services run on."""

    name: str
    gpus: tuple[ImportedGpu, ...] | None = ()
    """None: how many is unknown."""
    source: str | None = None
    """Where the models of its GPUs are from, in words."""
    address: str | None = None
    os: str | None = None
    memory: Bytes | None = None
    k3s_role: K3sRole | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    is_assumed: bool = False
    """Whether nothing in the input names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Everything that was understood, and what was not."""

    services: tuple[ImportedService, ...] = ()
    volumes: tuple[ImportedVolume, ...] = ()
    machines: tuple[Machine, ...] = ()
    gaps: tuple[Gap, ...] = ()
