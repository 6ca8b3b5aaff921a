"""The shape of a cluster file: which keys it has, what each holds, and the words that explain them to an editor.

These models see one value at a time; what needs two of them to compare (names, references) is in the modules
`node_checks`, `service_checks` and `queue_checks`. The same models make the JSON Schema. They are imported when a file
is read: pydantic is too heavy for those who just need the values.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from corral.cluster.fields import (
    AbsolutePath,
    Count,
    Duration,
    EnvironmentName,
    EnvValue,
    FilePath,
    GpuUuid,
    Host,
    Index,
    KeptFor,
    LabelKey,
    LabelValue,
    Name,
    Port,
    Size,
    Text,
    Url,
    Watts,
    kind_of,
    shown,
    wrong,
)
from corral.cluster.values import GpuMode, K3sRole, LayoutKind, QueueOrder, ServiceKind, StorageKind
from corral.engine_kinds import ENGINES, SERVICE_ENGINES

API_VERSION = "corral/v1"


def _api_version(value: object) -> object:
    if value != API_VERSION:
        raise wrong(f"apiVersion {shown(value)} is not known here", f"write `apiVersion: {API_VERSION}`")
    return value


def _some_nodes(value: object) -> object:
    if value == []:  # not `min_length`: that counts only the entries without problems
        raise wrong("a cluster has at least one node, found none", "describe a node: `- name: ...`")
    return value


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise wrong("a duration of nothing", "write a duration above 0, such as 30s")
    return value


def _option(value: object) -> str | int | float | bool:
    if isinstance(value, str | int | float):
        return value
    raise wrong(f"an option is text, a number or a boolean, not {kind_of(value)}", "write a single value")


Option = Annotated[
    str | int | float | bool,
    BeforeValidator(_option),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]


class Shape(BaseModel):
    """What every mapping of the file has in common: camelCase keys, and no others."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True)


class GpuShape(Shape):
    """One card of a node."""

    model: Text | None = Field(None, description="The model, as its maker writes it: `RTX 5070 Ti`, `RTX 3060 12GB`.")
    index: Index | None = Field(
        None, description="Its place in the node, as the driver numbers it. Default: its place in this list."
    )
    uuid: GpuUuid | None = Field(None, description="What `nvidia-smi -L` prints; survives a change of slots.")
    memory: Size | None = Field(None, description="VRAM. Default: what the catalogue says of the model.")
    power_limit: Watts | None = Field(None, description="The power limit that the card is to have, in watts.")


class CpuShape(Shape):
    """A node's processor."""

    model: Text | None = Field(None, description="The model, for people.")
    cores: Count | None = Field(None, description="Physical cores.")
    slots: Annotated[int, Field(ge=0, le=1024, strict=True)] | None = Field(
        None, description="How many tasks run on the processor at a time; 0 for none. Default: decided on the machine."
    )


class PsuShape(Shape):
    """A node's power supply."""

    watts: Watts = Field(description="What the power supply can give.")
    other_watts: Watts | None = Field(
        None, description="What the machine draws at full load besides its GPUs; unknown when left out."
    )


class DiskShape(Shape):
    """A drive of a node."""

    name: Text = Field(description="The device, as the operating system names it: `nvme0n1`.")
    size: Size | None = Field(None, description="Its size.")
    medium: Literal["nvme", "ssd", "hdd"] | None = Field(None, description="What kind of drive it is.")


class NodeShape(Shape):
    """A machine."""

    name: Name = Field(description="Unique; on Kubernetes, the node's name there (its host name).")
    address: Host | None = Field(
        None, description="Host name or IP address. Leave it out for the machine that the file is used on."
    )
    os: Text | None = Field(None, description="The operating system, such as `nixos`, `unraid`, `pop-os`.")
    k3s_role: K3sRole | None = Field(
        None, alias="k3sRole", description="What the node is to K3s; left out when it is not part of it."
    )
    roles: tuple[Name, ...] = Field((), description="What the node is for, in your words: `generation`, `storage`.")
    gpus: tuple[GpuShape, ...] | None = Field(
        None, description="Its GPUs. Left out: they are found on the machine. `[]`: it has none."
    )
    cpu: CpuShape | None = Field(None, description="Its processor.")
    memory: Size | None = Field(None, description="Main memory.")
    psu: PsuShape | None = Field(None, description="Its power supply.")
    disks: tuple[DiskShape, ...] = Field((), description="Its drives.")
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict,
        description="Kubernetes node labels. Values are text: put numbers and true/false in quotes.",
    )
    removed_labels: tuple[LabelKey, ...] = Field(
        (), description="Labels that the node had once and is to lose: K3s never takes one away by itself."
    )


class StorageShape(Shape):
    """A volume that services use."""

    name: Name = Field(description="Unique; services name it.")
    kind: StorageKind = Field(
        description="`local`: a node's disk; `nfs`: exported over the network; `ephemeral`: empty at each start."
    )
    node: Name | None = Field(None, description="The node whose disk it is (local), or that exports it (nfs).")
    server: Host | None = Field(None, description="For nfs: the host that exports it, when it is not one of the nodes.")
    path: AbsolutePath | None = Field(None, description="The directory on that node or server.")
    size: Size | None = Field(None, description="How much may be stored.")
    medium: Literal["nvme", "ssd", "hdd"] | None = Field(None, description="What it is stored on.")
    mount_options: tuple[Text, ...] = Field((), description="For nfs: `nfsvers=4.2`, `noatime`. Default: sound ones.")


class ExposureShape(Shape):
    """How people outside the cluster reach a service."""

    kind: Literal["loadBalancer", "nodePort", "ingress"] = Field(description="The kind of Kubernetes access.")
    port: Port = Field(description="The port that people use.")
    name: Name | None = Field(None, description="The name of the Kubernetes Service. Default: the service's name.")


class MemoryShape(Shape):
    """Main memory of a replica."""

    request: Size | None = Field(None, description="Main memory that is kept free for it.")
    limit: Size | None = Field(None, description="Main memory at which it is stopped.")


class SecretShape(Shape):
    """A key of a Kubernetes Secret."""

    secret: Name = Field(description="The name of the Secret.")
    key: Name = Field(description="The key in it.")


class RouteShape(Shape):
    """A language model that LiteLLM offers from a provider elsewhere."""

    name: Text = Field(description="What clients ask for: `gpt-4`.")
    model: Text = Field(description="As LiteLLM names it: `openai/gpt-4`.")
    key_from: EnvironmentName | None = Field(
        None, description="The environment variable that holds the provider's key; the key never stands in this file."
    )
    instead_of: tuple[Text, ...] = Field((), description="Models of the services that fall back to it.")


class ServiceShape(Shape):
    """A long-running thing to deploy."""

    name: Name = Field(description="Unique; layouts and other services name it.")
    kind: ServiceKind = Field(
        ServiceKind.SERVER,
        description="What it is besides a container that runs: `job` runs to its end when asked for; `litellm`, "
        "`nginx`, `corral` and `postgresql` get a configuration of their own.",
    )
    engines: tuple[Text, ...] = Field((), description="The engines that run in it: " + ", ".join(SERVICE_ENGINES) + ".")
    node: Name | None = Field(None, description="Where it runs, unless a layout says otherwise.")
    replicas: Annotated[int, Field(ge=0, le=1000, strict=True)] = Field(1, description="How many of it run.")
    gpus: Annotated[int, Field(ge=0, le=64, strict=True)] | None = Field(
        None, description="How many whole GPUs each replica gets."
    )
    gpu_memory: Size | None = Field(None, description="What a replica needs in VRAM.")
    models: tuple[Text, ...] = Field((), description="Models that it serves, by the engine's own names.")
    image: Text | None = Field(None, description="The container image.")
    port: Port | None = Field(None, description="The port that it listens on.")
    exposed: ExposureShape | None = Field(None, description="How people outside the cluster reach it.")
    namespace: Name | None = Field(None, description="Its Kubernetes namespace. Default: `kubernetes.namespace`.")
    storage: tuple[Name, ...] = Field((), description="Volumes that it uses, by name.")
    memory: MemoryShape | None = Field(None, description="Main memory of each replica.")
    calls: tuple[Name, ...] = Field((), description="Services that it calls over the network.")
    env: dict[Text, EnvValue] = Field(
        default_factory=dict, description="Environment variables. Nothing secret: this file is not encrypted."
    )
    command: tuple[Text, ...] = Field((), description="The command. Default: what the image starts.")
    health_path: AbsolutePath | None = Field(None, description="The path that answers 200 when it is ready.")
    mounts: dict[Name, AbsolutePath] = Field(
        default_factory=dict, description="Where each volume is mounted. Default: its engine's usual place."
    )
    secrets: dict[EnvironmentName, SecretShape] = Field(
        default_factory=dict, description="Environment variables whose values lie in Kubernetes Secrets."
    )
    routes: tuple[RouteShape, ...] = Field((), description="For `kind: litellm`: models of providers elsewhere.")


class PlacementShape(Shape):
    """Where a layout puts a service, and what differs there."""

    node: Name | None = Field(None, description="The node that it runs on.")
    gpus: tuple[Index, ...] | None = Field(None, description="Indexes of that node's GPUs that it may use.")
    replicas: Annotated[int, Field(ge=0, le=1000, strict=True)] | None = Field(
        None, description="How many of it run in this layout."
    )
    name: Name | None = Field(None, description="What it is called when deployed, and its address in the cluster.")
    pod: Name | None = Field(None, description="Services that name the same pod run together in it.")
    config_map: Name | None = Field(None, description="The ConfigMap that holds its settings in this layout.")
    storage: tuple[Name, ...] | None = Field(None, description="Volumes that it uses in this layout, by name.")
    env: dict[Text, EnvValue] = Field(
        default_factory=dict, description="Environment variables that differ in this layout."
    )


class LayoutShape(Shape):
    """A named way to place services on nodes."""

    kind: LayoutKind | None = Field(
        None,
        description="`edge`: all on one GPU; `workstation`: one service per node; `pool`: replicas on identical GPUs. "
        "Default: the layout's name, when it is one of these.",
    )
    services: dict[Name, PlacementShape] = Field(description="By the name of the service: where it runs.")


class InstanceShape(Shape):
    """A running server of an engine that is reached at an address."""

    name: Name = Field(description="Unique within the engine.")
    url: Url = Field(description="Where it answers; http or https, without user name or password.")
    node: Name | None = Field(None, description="The node that it computes on.")
    gpu: Index | None = Field(None, description="The index of the GPU that it computes on; needs `node`.")
    memory: Size | None = Field(None, description="VRAM that it may use, where no GPU is named.")


class EngineShape(Shape):
    """How the queue uses one engine."""

    enabled: bool | None = Field(
        None, strict=True, description="Whether tasks may use it. Default: true; false for `command` and `sleep`."
    )
    instances: tuple[InstanceShape, ...] = Field((), description="Running servers, for `comfyui` and `ollama`.")
    options: dict[Text, Option] = Field(default_factory=dict, description="The engine's own settings.")


class OwnerLimitsShape(Shape):
    """What one owner may have in a queue."""

    running: Count | None = Field(None, description="Tasks that run at the same time.")
    queued: Count | None = Field(None, description="Tasks that wait at the same time.")


class QueueLimitsShape(Shape):
    """Limits of a queue."""

    per_owner: OwnerLimitsShape | None = Field(None, description="For each owner of tasks.")


class QueueShape(Shape):
    """A queue, and the slots that it may use."""

    name: Name = Field(description="Unique; tasks name it. `default` always exists.")
    pool: tuple[Text, ...] | None = Field(
        None, description="Slots: `node`, `node/gpu0`, `node/cpu`. Left out: every slot of the cluster."
    )
    order: QueueOrder = Field(QueueOrder.PRIORITY, description="How tasks of one class are ordered.")
    limits: QueueLimitsShape | None = Field(None, description="What owners may have in it.")


class DatabaseShape(Shape):
    """The PostgreSQL server to use instead of the embedded one."""

    url_from: EnvironmentName = Field(
        description="The name of the environment variable that holds the URL. The URL itself, with its password, "
        "never stands in this file."
    )


class RetentionShape(Shape):
    """How long finished things are kept."""

    tasks: KeptFor | None = Field(
        None, description="Finished tasks and their story; `forever` keeps them. Default: 30d."
    )
    artifacts: KeptFor | None = Field(
        None, description="Files that tasks produced; `forever` keeps them. Default: 30d."
    )


class SchedulingShape(Shape):
    """How the policy is tuned."""

    promote_after: Duration | None = Field(
        None, description="A batch task that waited this long is treated as interactive. Default: 1h."
    )


Seconds = Annotated[Duration, AfterValidator(_positive)]


class WorkloadShape(Shape):
    """A kind of task that recurs; forecasts are made of it where nothing was measured yet."""

    name: Name = Field(description="Unique; forecasts name it.")
    engine: Text = Field(description="The engine that does it: " + ", ".join(SERVICE_ENGINES) + ".")
    model: Text | None = Field(None, description="The model, by the engine's own name.")
    service: Name | None = Field(None, description="The service that does it.")
    min_vram: Size | None = Field(None, description="VRAM that one task needs.")
    prefer_node: Name | None = Field(None, description="The node that it had best run on.")
    parallel_capable: bool = Field(
        False, strict=True, description="Whether one task can use several GPUs at once, such as training."
    )
    duration: Seconds | None = Field(None, description="How long one takes, on any GPU that `durations` does not name.")
    durations: dict[Text, Seconds] = Field(
        default_factory=dict, description="How long one takes by GPU model: `RTX 3060 12GB: 75s`."
    )
    load_time: Duration | None = Field(None, description="How long its model takes to load.")
    unit: Name = Field("task", description="What one task makes, in the singular: `image`.")
    per_night: Count | None = Field(None, description="How many are wanted in a night. Left out: as many as fit.")


class ElectricityShape(Shape):
    """What power costs."""

    price_per_kwh: Annotated[float, Field(ge=0, le=100)] = Field(description="The price of a kilowatt hour.")
    currency: Name = Field("EUR", description="Its currency.")


class KubernetesShape(Shape):
    """The Kubernetes that runs the services."""

    distribution: Literal["k3s"] | None = Field(None, description="Which Kubernetes.")
    server: Url | None = Field(None, description="The API server that agents join, such as https://192.168.1.250:6443.")
    namespace: Name | None = Field(None, description="The namespace of services that do not name one.")
    max_pods: Count | None = Field(None, description="The most pods on one node (`--kubelet-arg=max-pods`).")
    gpu_mode: GpuMode | None = Field(
        None,
        description="`devicePlugin`: a pod gets any card of its node; `dra`: a claim chooses the card (Kubernetes "
        "1.34). Default: `dra` where a node has several models of GPU, or services of one pod share a card.",
    )
    label_prefix: Host | None = Field(
        None, description="The domain of the node labels that are written, such as hydra.io. Default: corral.dev."
    )
    token_file: AbsolutePath | None = Field(
        None, description="Where each node keeps the K3s token. Default: /etc/rancher/k3s/token."
    )


class ClusterShape(Shape):
    """A cluster file."""

    api_version: Annotated[str, BeforeValidator(_api_version), WithJsonSchema({"const": API_VERSION})] = Field(
        description="The version of this file's format."
    )
    name: Name = Field(description="The cluster's name.")
    data_dir: FilePath | None = Field(
        None, description="Where Corral keeps its database, artifacts and models. Default: the user's data directory."
    )
    database: DatabaseShape | None = Field(None, description="A PostgreSQL server. Default: the embedded one.")
    retention: RetentionShape | None = Field(None, description="How long finished things are kept.")
    scheduling: SchedulingShape | None = Field(None, description="How the policy is tuned.")
    kubernetes: KubernetesShape | None = Field(None, description="The Kubernetes that runs the services.")
    nodes: Annotated[tuple[NodeShape, ...], BeforeValidator(_some_nodes)] = Field(
        description="The machines.", json_schema_extra={"minItems": 1}
    )
    storage: tuple[StorageShape, ...] = Field((), description="Volumes that services use.")
    workloads: tuple[WorkloadShape, ...] = Field((), description="Kinds of tasks that recur, for forecasts.")
    night: Seconds | None = Field(
        None, description="How long batches have the machines for themselves each night. Default: 8h."
    )
    electricity: ElectricityShape | None = Field(None, description="What power costs.")
    services: tuple[ServiceShape, ...] = Field((), description="Long-running things to deploy.")
    layouts: dict[Name, LayoutShape] = Field(default_factory=dict, description="Named ways to place the services.")
    engines: dict[Text, EngineShape | None] = Field(
        default_factory=dict, description="Engines that tasks may use: " + ", ".join(ENGINES) + "."
    )
    queues: tuple[QueueShape, ...] = Field((), description="Queues; `default` exists also when none is written.")


def model_of(annotation: Any) -> type[Shape] | None:  # a type expression, as pydantic keeps it
    """Find the shape that an annotation holds, inside `| None`, `tuple[...]` or `dict[...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Shape):
        return annotation
    for argument in get_args(annotation):
        found = model_of(argument)
        if found is not None:
            return found
    return None


def shape_at(path: tuple[str | int, ...]) -> type[Shape]:
    """Find the shape of the mapping at a path, or of its nearest parent that has one."""
    current: type[Shape] = ClusterShape
    for part in path:
        for name, info in current.model_fields.items():
            if part == (info.alias or name):
                current = model_of(info.annotation) or current
                break
    return current
