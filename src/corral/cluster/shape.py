"""The shape of a cluster file: its keys, the kind of value of each, and the words that explain them to an editor.

These models see one value at a time; what needs two of them to compare (names, references) is in `checks`. The same
models make the JSON Schema. They are imported when a file is read: pydantic is too heavy for those who just need the
values.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from corral.cluster.engine_shapes import EngineShape
from corral.cluster.fields import (
    AbsolutePath,
    Count,
    Duration,
    EnvironmentName,
    EnvValue,
    FilePath,
    Host,
    Index,
    KeptFor,
    Name,
    Port,
    Size,
    Text,
    Url,
    ZoneName,
    show_value,
    wrong,
)
from corral.cluster.gateway_shapes import GatewayShape
from corral.cluster.machine_shapes import HoursShape, NodeShape, Shape, WeekShape
from corral.cluster.receiver_shapes import NotifyTargetShape, WebhooksShape
from corral.cluster.server_shapes import ConsoleShape, ServerShape
from corral.cluster.values import GpuMode, LayoutKind, QueueOrder, ServiceKind, StorageKind
from corral.engine_kinds import ENGINES, SERVICE_ENGINES

API_VERSION = "corral/v1"


def _check_api_version(value: object) -> object:
    if value != API_VERSION:
        raise wrong(f"apiVersion {show_value(value)} is unknown", f"write `apiVersion: {API_VERSION}`")
    return value


def _check_nodes(value: object) -> object:
    if value == []:  # not `min_length`: that counts only the entries without problems
        raise wrong("a cluster has at least one node, found none", "describe a node: `- name: ...`")
    return value


def _check_positive(value: timedelta) -> timedelta:
    if not value:
        raise wrong("a duration of nothing", "write a duration above 0, such as 30s")
    return value


class StorageShape(Shape):
    """A volume that services use."""

    name: Name = Field(description="Unique; services name it.")
    kind: StorageKind = Field(
        description="`local`: a node's disk; `nfs`: exported over the network; `ephemeral`: empty at each start."
    )
    node: Name | None = Field(
        None,
        description="The node whose disk it is (local), or that exports it (nfs). A local volume without one is a "
        "volume for each replica of a service, on the disk of the node that the replica is on.",
    )
    server: Host | None = Field(None, description="For nfs: the host that exports it, when it is not one of the nodes.")
    path: AbsolutePath | None = Field(None, description="The directory on that node or server.")
    size: Size | None = Field(None, description="The space it offers.")
    medium: Literal["nvme", "ssd", "hdd"] | None = Field(None, description="The kind of drive below it.")
    mount_options: tuple[Text, ...] = Field(
        (), description="For nfs: `nfsvers=4.2`, `noatime`. Default: set for large files."
    )


class ExposureShape(Shape):
    """How people outside the cluster reach a service."""

    kind: Literal["loadBalancer", "nodePort", "ingress"] = Field(description="The kind of Kubernetes access.")
    port: Port = Field(description="The port that people use.")
    name: Name | None = Field(None, description="The name of the Kubernetes Service. Default: the service's name.")


class MemoryShape(Shape):
    """Main memory of a replica."""

    request: Size | None = Field(None, description="Main memory that is reserved for it.")
    limit: Size | None = Field(None, description="Main memory at which it is stopped.")


class SecretShape(Shape):
    """A key of a Kubernetes Secret."""

    secret: Name = Field(description="The name of the Secret.")
    key: Name = Field(description="The key in it.")


class RouteShape(Shape):
    """A language model that LiteLLM offers from a provider elsewhere."""

    name: Text = Field(description="The name that clients use: `gpt-4`.")
    model: Text = Field(description="LiteLLM's name: `openai/gpt-4`.")
    key_from: EnvironmentName | None = Field(
        None,
        description="The environment variable with the provider's key; the key itself is never in this file.",
    )
    instead_of: tuple[Text, ...] = Field((), description="Models of the services that fall back to it.")


class ServiceShape(Shape):
    """A long-running thing to deploy."""

    name: Name = Field(description="Unique; layouts and other services name it.")
    kind: ServiceKind = Field(
        ServiceKind.SERVER,
        description="The kind of service: `server` runs all the time; `job` runs to its end on demand; `litellm`, "
        "`nginx`, `corral` and `postgresql` get a configuration of their own; `redis` and `qdrant` have an image; "
        "`addon` is a part of K3s that a chart brings: `corral render --only addons`.",
    )
    engines: tuple[Text, ...] = Field((), description="The engines that run in it: " + ", ".join(SERVICE_ENGINES) + ".")
    node: Name | None = Field(None, description="The node it runs on, unless a layout names another.")
    replicas: Annotated[int, Field(ge=0, le=1000, strict=True)] = Field(1, description="The number of replicas.")
    gpus: Annotated[int, Field(ge=0, le=64, strict=True)] | None = Field(
        None, description="Whole GPUs of each replica."
    )
    gpu_memory: Size | None = Field(None, description="VRAM that a replica needs.")
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
    command: tuple[Text, ...] = Field((), description="The command. Default: the image's own.")
    health_path: AbsolutePath | None = Field(None, description="The path that answers 200 when it is ready.")
    mounts: dict[Name, AbsolutePath] = Field(
        default_factory=dict, description="Where each volume is mounted. Default: its engine's usual place."
    )
    secrets: dict[EnvironmentName, SecretShape] = Field(
        default_factory=dict, description="Environment variables whose values are in Kubernetes Secrets."
    )
    routes: tuple[RouteShape, ...] = Field((), description="For `kind: litellm`: models of providers elsewhere.")
    idle: Duration | None = Field(
        None,
        description="How long it stays without work where it runs on demand: where it wants a GPU and the layout does "
        "not name it. Corral starts it for the first task, and stops it after this time. Default: 10m.",
    )
    direct: bool = Field(
        False,
        strict=True,
        description="Whether others on Kubernetes reach an Ollama or a ComfyUI directly where a service of `kind: "
        "corral` is in the layout. Default: no; they get the address of its doors.",
    )
    lends: bool | None = Field(
        None,
        strict=True,
        description="Whether Jobs can have its GPUs, a replica at a time; it has them back when they end (Kueue). "
        "Default: yes where the queue drives it (ComfyUI, Ollama, OpenAI's API) and a Job wants GPUs there.",
    )


class PlacementShape(Shape):
    """A service's place in a layout, and what differs there."""

    node: Name | None = Field(None, description="The node that it runs on.")
    gpus: tuple[Index, ...] | None = Field(None, description="Indexes of that node's GPUs that it can use.")
    replicas: Annotated[int, Field(ge=0, le=1000, strict=True)] | None = Field(
        None, description="The number of replicas in this layout."
    )
    name: Name | None = Field(None, description="Its name when deployed, and its address in the cluster.")
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
    services: dict[Name, PlacementShape] = Field(description="The place of each service, by its name.")


class OwnerLimitsShape(Shape):
    """Limits of one owner in a queue."""

    running: Count | None = Field(None, description="Tasks that run at the same time.")
    queued: Count | None = Field(None, description="Tasks that wait at the same time.")


class QueueLimitsShape(Shape):
    """Limits of a queue."""

    per_owner: OwnerLimitsShape | None = Field(None, description="For each owner of tasks.")


class QueueShape(Shape):
    """A queue, and the slots that it can use."""

    name: Name = Field(description="Unique; tasks name it. `default` always exists.")
    pool: tuple[Text, ...] | None = Field(
        None,
        description="Nodes, devices and slots: `node`, `node/gpu0`, `node/cpu`, `node/gpu0/comfyui`. "
        "Left out: every slot of the cluster.",
    )
    order: QueueOrder = Field(QueueOrder.PRIORITY, description="The order of tasks of one class.")
    limits: QueueLimitsShape | None = Field(None, description="Limits of owners in it.")
    hours: HoursShape | None = Field(
        None, description="When its tasks can start, in addition to the hours of the slots. Default: always."
    )
    outputs: Text | None = Field(
        None,
        description="The folder of each task's outputs, for batches that name none: `/mnt/nas/{batch}/{task}`, below "
        "one of `outputFolders`.",
    )


class OutputFolderShape(Shape):
    """A folder below which outputs can be written by themselves."""

    path: FilePath = Field(description="Its absolute path. Corral never makes it.")
    mounted: bool = Field(
        False,
        strict=True,
        description="Whether it is where a share is mounted; while nothing is, nothing is written and outputs wait.",
    )


class DatabaseShape(Shape):
    """The PostgreSQL server to use instead of the embedded one."""

    url_from: EnvironmentName = Field(
        description="The name of the environment variable that holds the URL. The URL itself, with its password, "
        "is never in this file."
    )


class RetentionShape(Shape):
    """How long finished things are kept."""

    tasks: KeptFor | None = Field(
        None, description="Finished tasks and their story; `forever` keeps them. Default: 30d."
    )
    artifacts: KeptFor | None = Field(
        None, description="Files that tasks produced; `forever` keeps them. Default: 30d."
    )


Seconds = Annotated[Duration, AfterValidator(_check_positive)]


class PreemptShape(Shape):
    """When a chat, or another request that waits for its answer, interrupts batch tasks."""

    after: Seconds = Field(
        description="A request that would wait longer interrupts a batch task on a slot that it can use. The task goes "
        "back to the queue as it was, and its attempt does not count."
    )


class SchedulingShape(Shape):
    """Settings of the policy."""

    promote_after: Duration | None = Field(
        None, description="A batch task that waited this long is treated as interactive. Default: 1h."
    )
    model_wait: Seconds | None = Field(
        None, description="A task fails when no server has had its model for this long. Default: 1d."
    )
    guest_wait: Seconds | None = Field(
        None,
        description="How long a request through the gateway waits for a slot at most. One that would wait longer is "
        "refused at once, with the time after which to try again. Default: 60s.",
    )
    preempt: PreemptShape | None = Field(
        None, description="Whether such requests interrupt batch tasks. Left out: they wait for the tasks' end."
    )


class WorkloadShape(Shape):
    """A kind of task that recurs; the basis of forecasts where nothing was measured yet."""

    name: Name = Field(description="Unique; forecasts name it.")
    engine: Text = Field(description="The engine that does it: " + ", ".join(SERVICE_ENGINES) + ".")
    model: Text | None = Field(None, description="The model, by the engine's own name.")
    service: Name | None = Field(None, description="The service that does it.")
    min_vram: Size | None = Field(None, description="VRAM that one task needs.")
    node: Name | None = Field(None, description="The only node where its tasks run, unless they name one.")
    prefer_node: Name | None = Field(
        None,
        description="The node that its tasks prefer, unless they name one; it makes a task two minutes later at most.",
    )
    parallel_capable: bool = Field(
        False, strict=True, description="Whether one task can use several GPUs at once, such as training."
    )
    duration: Seconds | None = Field(None, description="The time of one task, on GPUs that `durations` does not name.")
    durations: dict[Text, Seconds] = Field(
        default_factory=dict, description="The time of one task by GPU model: `RTX 3060 12GB: 75s`."
    )
    load_time: Duration | None = Field(None, description="The time its model takes to load.")
    unit: Name = Field("task", description="The product of one task, in the singular: `image`.")
    per_night: Count | None = Field(None, description="Tasks that are wanted in a night. Left out: as many as fit.")


Price = Annotated[float, Field(ge=0, le=100)]


class TariffShape(Shape):
    """Hours in which power has another price."""

    price_per_kwh: Price = Field(description="The price of a kilowatt hour in these hours.")
    hours: WeekShape = Field(description="The hours.")


class ElectricityShape(Shape):
    """The price of power."""

    price_per_kwh: Price = Field(description="The price of a kilowatt hour.")
    tariff: tuple[TariffShape, ...] = Field(
        (),
        description="Hours with other prices; of those that overlap the first counts. Batches can wait for the lowest "
        "price: `when: cheap`.",
    )
    currency: Name = Field("EUR", description="Its currency.")


class LendingShape(Shape):
    """How GPUs of services are lent to Jobs."""

    finish: Seconds | None = Field(
        None,
        description="How long a replica that Kueue ends for a Job can finish what it runs; one where nothing of the "
        "queue runs ends at once. Before a Job of the queue (engine `job`), replicas are emptied first, however long "
        "that takes. Default: 2m.",
    )
    keep: Annotated[int, Field(ge=0, le=1000, strict=True)] = Field(
        0, description="Replicas of each service that no Job gets: the first ones."
    )
    wait: Seconds | None = Field(
        None,
        description="How long tasks and requests wait at most for GPUs that are lent while no replica for them is "
        "left. Then one replica gets a GPU back: Kueue suspends the Job that has it, which begins anew later. Left "
        "out: they wait for the end of the Jobs.",
    )


class KubernetesShape(Shape):
    """The Kubernetes that runs the services."""

    distribution: Literal["k3s"] | None = Field(None, description="The distribution of Kubernetes.")
    server: Url | None = Field(None, description="The API server that agents join, such as https://192.168.1.250:6443.")
    namespace: Name | None = Field(None, description="The namespace of services that do not name one.")
    max_pods: Count | None = Field(None, description="The most pods on one node (`--kubelet-arg=max-pods`).")
    gpu_mode: GpuMode | None = Field(
        None,
        description="`devicePlugin`: a pod gets any GPU of its node; `dra`: a claim chooses the GPU (Kubernetes "
        "1.34). Default: `dra` where services of one pod share a GPU, and, without NixOS, where a service needs one of "
        "several models of a node.",
    )
    label_prefix: Host | None = Field(
        None, description="The domain of the node labels that are written, such as hydra.io. Default: corral.dev."
    )
    token_file: AbsolutePath | None = Field(
        None, description="The file of each node that holds the K3s token. Default: /etc/rancher/k3s/token."
    )
    lending: LendingShape | None = Field(None, description="How services lend their GPUs to Jobs.")


class ClusterShape(Shape):
    """A cluster file."""

    api_version: Annotated[str, BeforeValidator(_check_api_version), WithJsonSchema({"const": API_VERSION})] = Field(
        description="The version of this file's format."
    )
    name: Name = Field(description="The cluster's name.")
    time_zone: ZoneName | None = Field(
        None, description="The time zone of all `hours`: `Europe/Berlin`. Default: that of the machine."
    )
    data_dir: FilePath | None = Field(
        None,
        description="The folder of database, artifacts and models. Default: the user's data directory.",
    )
    database: DatabaseShape | None = Field(None, description="A PostgreSQL server. Default: the embedded one.")
    retention: RetentionShape | None = Field(None, description="How long finished things are kept.")
    scheduling: SchedulingShape | None = Field(None, description="Settings of the policy.")
    server: ServerShape | None = Field(None, description="Settings of the server's door and its disk.")
    console: ConsoleShape | None = Field(None, description="Conversations and rights of the console.")
    gateway: GatewayShape | None = Field(None, description="Ports of their own for the clients of other programs.")
    kubernetes: KubernetesShape | None = Field(None, description="The Kubernetes that runs the services.")
    nodes: Annotated[tuple[NodeShape, ...], BeforeValidator(_check_nodes)] = Field(
        description="The machines.", json_schema_extra={"minItems": 1}
    )
    storage: tuple[StorageShape, ...] = Field((), description="Volumes that services use.")
    workloads: tuple[WorkloadShape, ...] = Field((), description="Kinds of tasks that recur, for forecasts.")
    night: Seconds | None = Field(
        None, description="The time each night in which batches have the machines for themselves. Default: 8h."
    )
    electricity: ElectricityShape | None = Field(None, description="The price of power.")
    services: tuple[ServiceShape, ...] = Field((), description="Long-running things to deploy.")
    layouts: dict[Name, LayoutShape] = Field(default_factory=dict, description="Named ways to place the services.")
    engines: dict[Text, EngineShape | None] = Field(
        default_factory=dict, description="Engines that tasks can use: " + ", ".join(ENGINES) + "."
    )
    queues: tuple[QueueShape, ...] = Field((), description="Queues; `default` exists also when it is not written.")
    output_folders: tuple[OutputFolderShape, ...] = Field(
        (), description="The folders below which batches and queues can have outputs written."
    )
    webhooks: WebhooksShape | None = Field(None, description="Signed requests to programs when something happened.")
    notify: tuple[NotifyTargetShape, ...] = Field(
        (), description="Services through which people are notified: phones, chats, e-mail."
    )


def find_shape(annotation: Any) -> type[Shape] | None:  # a type expression, as pydantic keeps it
    """Find the shape that an annotation holds, inside `| None`, `tuple[...]` or `dict[...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Shape):
        return annotation
    for argument in get_args(annotation):
        shape = find_shape(argument)
        if shape is not None:
            return shape
    return None


def find_shape_at(path: tuple[str | int, ...]) -> type[Shape]:
    """Find the shape of the mapping at a path, or of its nearest parent that has one."""
    current: type[Shape] = ClusterShape
    for part in path:
        for name, info in current.model_fields.items():
            if part == (info.alias or name):
                current = find_shape(info.annotation) or current
                break
    return current
