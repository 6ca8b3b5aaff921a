"""The values of a cluster file that was checked.

Values are frozen; names are unique where the file requires it; references point at things that exist. What the file
leaves open is None: nothing is guessed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from corral.cluster.gateway_values import Gateway
from corral.cluster.keeping import OutputFolder, Retention
from corral.cluster.power_windows import PowerWindow
from corral.cluster.prices import Electricity
from corral.cluster.receivers import NotifyTarget, Webhooks
from corral.cluster.run_values import Run
from corral.cluster.service_kinds import Route, SecretKey, ServiceKind
from corral.cluster.yields import YieldTo
from corral.hours import Hours
from corral.units import Bytes

WRITTEN_AT = "written_at"
"""The key of a field's metadata that holds its place in the file, where that is not a key of the field's own name."""


def written_at(place: str) -> Mapping[str, str]:
    """Make the metadata of a field that the file has at another place below its section: `cpu.slots`."""
    return {WRITTEN_AT: place}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU of a node."""

    index: int
    """Its number in the node, as the driver counts."""
    model: str | None = None
    """The catalogue's name (`RTX 5070 Ti`); None when it must be read from the GPU."""
    uuid: str | None = None
    memory: Bytes | None = None
    """The file's, else the catalogue's; None when neither has it."""
    is_unified: bool = False
    """Whether its memory is the machine's, as in a Jetson, a Mac or a processor with graphics."""
    power_limit_w: int | None = field(default=None, metadata=written_at("power_limit"))
    power_windows: tuple[PowerWindow, ...] = field(default=(), metadata=written_at("power_hours"))
    """Of windows that overlap the first counts; outside of all, `power_limit_w`."""
    hours: Hours | None = None
    """When tasks can start on it; None is as on its node."""
    yield_to: YieldTo | None = None

    def find_power_limit(self, at: datetime) -> int | None:
        """Find the power limit at an instant, in watts; None where the file sets none."""
        windows = (window.watts for window in self.power_windows if window.hours.is_open(at))
        return next(windows, self.power_limit_w)


class K3sRole(StrEnum):
    """A node's role in K3s."""

    SERVER = "server"
    AGENT = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A drive of a node."""

    name: str
    """The operating system's name of the device: `nvme0n1`."""
    size: Bytes | None = None
    medium: str | None = None
    """`nvme`, `ssd` or `hdd`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The circuit that a machine is on."""

    volts: int
    amps: int
    """The rating of its breaker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine."""

    name: str
    address: str | None = None
    """Host name or IP address; None for the machine that the file is used on."""
    gpus: tuple[Gpu, ...] | None = None
    """None means: find them (NVML); an empty tuple means that the node has none."""
    cpu_slots: int | None = field(default=None, metadata=written_at("cpu.slots"))
    """Tasks that the processor takes at a time; None means: decide on the machine."""
    memory: Bytes | None = None
    cpu_cores: int | None = field(default=None, metadata=written_at("cpu.cores"))
    cpu_model: str | None = field(default=None, metadata=written_at("cpu.model"))
    psu_w: int | None = field(default=None, metadata=written_at("psu.watts"))
    other_power_w: int | None = field(default=None, metadata=written_at("psu.other_watts"))
    """The power draw of the rest of the machine at full load, without its GPUs, in watts."""
    psu_standard: str | None = field(default=None, metadata=written_at("psu.standard"))
    """`ATX 2`, `ATX 3.0` or `ATX 3.1`: what it carries for a millisecond."""
    psu_efficiency: str | None = field(default=None, metadata=written_at("psu.efficiency"))
    """Its 80 PLUS mark: `gold`."""
    psu_rails: int | None = field(default=None, metadata=written_at("psu.rails"))
    """Rails of 12 V, each with a protection of its own."""
    line: Line | None = field(default=None, metadata=written_at("psu.line"))
    ups_w: int | None = field(default=None, metadata=written_at("psu.ups_watts"))
    """The power of the uninterruptible supply that it is on, in watts."""
    disks: tuple[Disk, ...] = ()
    os: str | None = None
    k3s_role: K3sRole | None = None
    roles: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    removed_labels: tuple[str, ...] = ()
    """Keys of labels that the node had and must lose: K3s never takes one away by itself."""
    hours: Hours | None = None
    """When tasks can start on it; None is always."""

    def find_hours(self, gpu: Gpu | None = None) -> Hours | None:
        """Find the hours of one of its GPUs, or of whatever else is on it."""
        return self.hours if gpu is None or gpu.hours is None else gpu.hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A server of a remote engine (`comfyui`, `ollama`), bound to the slot it computes on: by `url` or by `run`."""

    name: str
    url: str | None = None
    """Where a server that runs anyway answers; None where Corral runs it."""
    run: Run | None = None
    """How Corral runs it itself, on this machine; None where it runs anyway."""
    node: str | None = None
    gpu: int | None = None
    """With `node`: the GPU it computes on. Without: the instance is a slot of its own."""
    memory: Bytes | None = None
    token_from: str | None = None
    """The environment variable that holds its token."""
    headers_from: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers of every request to it, each with the environment variable that holds its value."""
    models_folder: str | None = None
    """The folder of its model files, as the Corral server sees it."""
    exclusive: bool | None = None
    """Whether its tasks compute alone on their GPU; None is as its engine's do."""
    lanes: int | None = None
    """How many tasks of one model it does at a time; None is as its engine has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How one engine is used; an engine that the file does not name has these defaults."""

    name: str
    enabled: bool = True
    """`command` and `sleep` are off unless the file turns them on."""
    exclusive: bool | None = None
    """Whether its tasks compute alone on their GPU; None is as `corral.engine_kinds` has it."""
    lanes: int | None = None
    """How many tasks of one model a slot does at a time; None is as many as a server says, else one."""
    instances: tuple[Instance, ...] = ()
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, "str | int | float | bool"])
    """The engine's own settings, such as `contextSize` or `computeType`; checked by the engine's schema."""


class QueueOrder(StrEnum):
    """How a queue orders its tasks inside a class."""

    PRIORITY = "priority"
    """By priority, then fair share between owners, then age."""
    FIFO = "fifo"
    """By age alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """A queue and the pool it can use."""

    name: str
    pool: tuple[str, ...] | None = None
    """Selectors; None is all. A node (`hydra`), a device (`hydra/gpu0`), a node's processor (`hydra/cpu`), a slot
    (`hydra/gpu0/comfyui`, and `hydra/gpu0/comfyui/left` for one of several instances)."""
    order: QueueOrder = QueueOrder.PRIORITY
    max_running_per_owner: int | None = field(default=None, metadata=written_at("limits.per_owner.running"))
    max_queued_per_owner: int | None = field(default=None, metadata=written_at("limits.per_owner.queued"))
    hours: Hours | None = None
    """When its tasks can start; None is always."""
    outputs: str | None = None
    """The folder of each task's outputs, for batches that name none (`corral.cluster.destinations`)."""

    @property
    def devices(self) -> tuple[str, ...] | None:
        """The pool without engines: nodes and devices, each once."""
        if self.pool is None:
            return None
        return tuple(dict.fromkeys("/".join(selector.split("/")[:2]) for selector in self.pool))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRules:
    """Rules of the server's door and its disk."""

    require_token: bool = False
    """Whether a token is asked for on loopback, too."""
    disk_reserve: Bytes = field(default=Bytes(256 * 1024**2))
    """Free bytes below which nothing starts: the embedded PostgreSQL is on the same disk, and stops when it is full."""
    uploads_per_owner: Bytes = field(default=Bytes(100 * 1024**3), metadata=written_at("limits.per_owner.uploads"))
    connections_per_owner: int | None = field(default=None, metadata=written_at("limits.per_owner.connections"))
    """None is a quarter of those that the server can have."""
    link: str | None = None
    """The address under which people reach it."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of reverse proxies whose word for the client counts."""
    streams_per_owner: int = field(default=32, metadata=written_at("limits.per_owner.streams"))


class StorageKind(StrEnum):
    """A volume's place, and which nodes reach it."""

    LOCAL = "local"
    """On one node's disk; only services on that node can use it."""
    NFS = "nfs"
    """Exported over the network; every node can use it."""
    EPHEMERAL = "ephemeral"
    """Empty at each start of a service, and gone with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A volume that services use."""

    name: str
    kind: StorageKind
    node: str | None = None
    """The node whose disk it is (local), or the node that exports it (nfs)."""
    server: str | None = None
    """For nfs: the host that exports it when that is not a node of this file."""
    path: str | None = None
    size: Bytes | None = None
    medium: str | None = None
    mount_options: tuple[str, ...] = ()
    """For nfs: `nfsvers=4.2`, `noatime`; empty leaves the choice to the renderer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How people outside the cluster reach a service."""

    kind: str
    port: int
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a service runs, and what differs there; None leaves it as the service has it, or open."""

    node: str | None = None
    gpus: tuple[int, ...] | None = None
    """Indexes of GPUs on that node."""
    replicas: int | None = None
    name: str | None = None
    """The name of the deployed thing, and of its address in the cluster."""
    pod: str | None = None
    """Services that name the same pod run together in it."""
    config_map: str | None = None
    storage: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A long-running thing to deploy."""

    name: str
    kind: ServiceKind = ServiceKind.SERVER
    engines: tuple[str, ...] = ()
    node: str | None = None
    replicas: int = 1
    gpus: int | None = None
    """GPUs of each replica."""
    gpu_memory: Bytes | None = None
    """VRAM that a replica needs."""
    models: tuple[str, ...] = ()
    image: str | None = None
    port: int | None = None
    exposed: Exposure | None = None
    namespace: str | None = None
    storage: tuple[str, ...] = ()
    memory_request: Bytes | None = field(default=None, metadata=written_at("memory.request"))
    memory_limit: Bytes | None = field(default=None, metadata=written_at("memory.limit"))
    calls: tuple[str, ...] = ()
    """Services that it calls over the network."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    command: tuple[str, ...] = ()
    """Empty: the image's own."""
    health_path: str | None = None
    """The path that answers 200 when the service is ready."""
    mounts: Mapping[str, str] = field(default_factory=dict[str, str])
    """Where each volume is mounted; a volume that is not named here has its engine's usual place."""
    secrets: Mapping[str, SecretKey] = field(default_factory=dict[str, SecretKey])
    """Environment variables whose values are secret."""
    routes: tuple[Route, ...] = ()
    """For LiteLLM."""
    idle: timedelta = timedelta(minutes=10)
    """How long a service on demand stays without work."""
    direct: bool = False
    """Whether others reach an engine directly, and not through the doors of Corral's own server."""
    lends: bool | None = None
    """Whether Jobs of higher priority can have its GPUs; None is as `corral.rendering.lending` decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A kind of task that recurs: the basis of forecasts where nothing was measured yet."""

    name: str
    engine: str
    model: str | None = None
    service: str | None = None
    """The service that does it."""
    min_vram: Bytes | None = None
    """VRAM that one task needs on its GPU."""
    node: str | None = None
    """The only node where its tasks run, unless they name one."""
    prefer_node: str | None = None
    """The node that its tasks prefer, unless they name one."""
    parallel_capable: bool = False
    """Whether one task of it can use several GPUs (training); independent tasks always run side by side."""
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds of one task by GPU model; `*` is any other model. Empty: only the history knows."""
    load_s: float | None = field(default=None, metadata=written_at("load_time"))
    """Seconds that its model takes to load."""
    unit: str = "task"
    """The product of one task: `image`."""
    per_night: int | None = None
    """Tasks that are wanted in a night; None is as many as fit."""


class LayoutKind(StrEnum):
    """The three ways to place services on nodes."""

    EDGE = "edge"
    """All on one GPU."""
    WORKSTATION = "workstation"
    """One service per node."""
    POOL = "pool"
    """Replicas on identical GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A named way to place services on nodes."""

    name: str
    kind: LayoutKind
    services: Mapping[str, Placement]


class GpuMode(StrEnum):
    """How pods get their GPUs."""

    DEVICE_PLUGIN = "devicePlugin"
    """NVIDIA's device plugin: `nvidia.com/gpu: 1`, any GPU of the node."""
    DRA = "dra"
    """Dynamic Resource Allocation: a claim chooses a GPU by its facts; Kubernetes 1.34 or newer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes:
    """The Kubernetes that runs the services of a cluster."""

    gpu_mode: GpuMode | None = None
    """None: DRA where only a claim gives pods the GPUs that they need, else the device plugin."""
    label_prefix: str | None = None
    """The domain of the node labels that Corral writes: `hydra.io`; None means `corral.dev`."""
    token_file: str = "/etc/rancher/k3s/token"
    """Where each node keeps the token with which agents join; the token itself is never in a file of ours."""

    distribution: str | None = None
    server: str | None = None
    namespace: str | None = None
    max_pods: int | None = None
    lent_finish: timedelta = field(default=timedelta(minutes=2), metadata=written_at("lending.finish"))
    lent_keep: int = field(default=0, metadata=written_at("lending.keep"))
    lent_wait: timedelta | None = field(default=None, metadata=written_at("lending.wait"))
    """How long tasks wait for GPUs that are lent while no replica for them is left; None: until the Jobs end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The whole file."""

    name: str
    nodes: tuple[Node, ...]
    engines: Mapping[str, EngineSettings] = field(default_factory=dict[str, EngineSettings])
    queues: Mapping[str, QueueSettings] = field(default_factory=dict[str, QueueSettings])
    """Always holds `default`."""
    output_folders: tuple[OutputFolder, ...] = ()
    webhooks: Webhooks = field(default_factory=Webhooks)
    notify: tuple[NotifyTarget, ...] = ()
    retention: Retention = field(default_factory=Retention)
    server: ServerRules = ServerRules()
    gateway: Gateway = field(default_factory=Gateway)
    console_may_apply: bool = field(default=False, metadata=written_at("console.may_apply"))
    """Whether the server on Kubernetes gets the rights to apply layouts and to switch between them."""
    keeps_conversations: bool = field(default=True, metadata=written_at("console.conversations"))
    """Whether conversations of the chat are added to the database."""
    time_zone: str | None = None
    """The zone of its hours; None is the machine's."""
    data_dir: str | None = None
    database_url_env: str | None = field(default=None, metadata=written_at("database.url_from"))
    """The environment variable that holds a PostgreSQL URL; None means the embedded server."""
    promote_after: timedelta = field(default=timedelta(hours=1), metadata=written_at("scheduling.promote_after"))
    model_wait: timedelta = field(default=timedelta(days=1), metadata=written_at("scheduling.model_wait"))
    guest_wait: timedelta = field(default=timedelta(seconds=60), metadata=written_at("scheduling.guest_wait"))
    preempt_after: timedelta | None = field(default=None, metadata=written_at("scheduling.preempt.after"))
    """Guests that would wait longer interrupt batch tasks; None where none does."""
    storage: Mapping[str, Storage] = field(default_factory=dict[str, Storage])
    services: Mapping[str, Service] = field(default_factory=dict[str, Service])
    layouts: Mapping[str, Layout] = field(default_factory=dict[str, Layout])
    kubernetes: Kubernetes | None = None
    workloads: Mapping[str, Workload] = field(default_factory=dict[str, Workload])
    night: timedelta = timedelta(hours=8)
    """The length of the hours in which batches have the machines for themselves."""
    electricity: Electricity | None = None

    @property
    def kubernetes_nodes(self) -> tuple[Node, ...]:
        """The nodes of its Kubernetes: those with a role in K3s; where the file gives none a role, all of them."""
        return tuple(node for node in self.nodes if node.k3s_role is not None) or self.nodes

    def find_workload(self, engine: str, model: str | None) -> Workload | None:
        """Find the workload that a task is one of: with its engine and model, else with its engine and no model."""
        return next(iter(self._list_workloads(engine, model)), None)

    def find_nodes(self, engine: str, model: str | None) -> tuple[str | None, str | None]:
        """Find where a task that names no node must run, and where it would rather.

        It is what all workloads say that the task can be one of: its engine and model are all that is known of it.
        """
        nodes = {(workload.node, workload.prefer_node) for workload in self._list_workloads(engine, model)}
        return nodes.pop() if len(nodes) == 1 else (None, None)

    def _list_workloads(self, engine: str, model: str | None) -> list[Workload]:
        of_engine = [workload for workload in self.workloads.values() if workload.engine == engine]
        exact = [workload for workload in of_engine if workload.model == model]
        return exact or [workload for workload in of_engine if workload.model is None]
