"""Makes the values of a checked file: what `corral.cluster.shape` read becomes `corral.cluster.values`."""

from __future__ import annotations

from collections.abc import Mapping

from corral.cluster.document import Path
from corral.cluster.fields import FOREVER
from corral.cluster.gpu_facts import GpuFacts
from corral.cluster.shape import (
    ClusterShape,
    ElectricityShape,
    EngineShape,
    GpuShape,
    KubernetesShape,
    LayoutShape,
    NodeShape,
    PlacementShape,
    QueueShape,
    RetentionShape,
    ServiceShape,
    StorageShape,
    WorkloadShape,
)
from corral.cluster.values import (
    Cluster,
    Disk,
    Electricity,
    EngineSettings,
    Exposure,
    Gpu,
    Instance,
    Kubernetes,
    Layout,
    LayoutKind,
    Node,
    Placement,
    QueueSettings,
    Retention,
    Route,
    SecretKey,
    Service,
    Storage,
    Workload,
)
from corral.engine_kinds import ENGINES

_DEFAULT_QUEUE = "default"


def build(shape: ClusterShape, gpu_models: Mapping[Path, GpuFacts]) -> Cluster:
    """Make the cluster of a file without problems; `gpu_models` has the catalogue's answers by path."""
    queues = {queue.name: _queue(queue) for queue in shape.queues}
    queues.setdefault(_DEFAULT_QUEUE, QueueSettings(name=_DEFAULT_QUEUE))
    promote_after = shape.scheduling.promote_after if shape.scheduling else None
    return Cluster(
        name=shape.name,
        nodes=tuple(_node(node, ("nodes", index), gpu_models) for index, node in enumerate(shape.nodes)),
        engines={name: _engine(name, shape.engines.get(name)) for name in ENGINES},
        queues=queues,
        retention=_retention(shape.retention),
        data_dir=shape.data_dir,
        database_url_env=shape.database.url_from if shape.database else None,
        promote_after=Cluster.__dataclass_fields__["promote_after"].default if promote_after is None else promote_after,
        storage={volume.name: _storage(volume) for volume in shape.storage},
        services={service.name: _service(service) for service in shape.services},
        layouts={name: _layout(name, layout) for name, layout in shape.layouts.items()},
        kubernetes=_kubernetes(shape.kubernetes),
        workloads={
            workload.name: _workload(workload, ("workloads", index), gpu_models)
            for index, workload in enumerate(shape.workloads)
        },
        night=Cluster.__dataclass_fields__["night"].default if shape.night is None else shape.night,
        electricity=_electricity(shape.electricity),
    )


def _node(shape: NodeShape, at: Path, gpu_models: Mapping[Path, GpuFacts]) -> Node:
    gpus = None
    if shape.gpus is not None:
        gpus = tuple(_gpu(gpu, index, gpu_models.get((*at, "gpus", index))) for index, gpu in enumerate(shape.gpus))
    return Node(
        name=shape.name,
        address=shape.address,
        gpus=gpus,
        cpu_slots=shape.cpu.slots if shape.cpu else None,
        memory=shape.memory,
        cpu_cores=shape.cpu.cores if shape.cpu else None,
        cpu_model=shape.cpu.model if shape.cpu else None,
        psu_w=shape.psu.watts if shape.psu else None,
        other_power_w=shape.psu.other_watts if shape.psu else None,
        disks=tuple(Disk(name=disk.name, size=disk.size, medium=disk.medium) for disk in shape.disks),
        os=shape.os,
        k3s_role=shape.k3s_role,
        roles=shape.roles,
        labels=dict(shape.labels),
        removed_labels=shape.removed_labels,
    )


def _gpu(shape: GpuShape, place: int, facts: GpuFacts | None) -> Gpu:
    return Gpu(
        index=place if shape.index is None else shape.index,
        model=facts.name if facts else shape.model,
        uuid=shape.uuid,
        memory=shape.memory or (facts.memory if facts else None),
        power_limit_w=shape.power_limit,
    )


def _storage(shape: StorageShape) -> Storage:
    return Storage(
        name=shape.name,
        kind=shape.kind,
        node=shape.node,
        server=shape.server,
        path=shape.path,
        size=shape.size,
        medium=shape.medium,
        mount_options=shape.mount_options,
    )


def _service(shape: ServiceShape) -> Service:
    exposed = shape.exposed
    return Service(
        name=shape.name,
        kind=shape.kind,
        engines=shape.engines,
        node=shape.node,
        replicas=shape.replicas,
        gpus=shape.gpus,
        gpu_memory=shape.gpu_memory,
        models=shape.models,
        image=shape.image,
        port=shape.port,
        exposed=Exposure(kind=exposed.kind, port=exposed.port, name=exposed.name) if exposed else None,
        namespace=shape.namespace,
        storage=shape.storage,
        memory_request=shape.memory.request if shape.memory else None,
        memory_limit=shape.memory.limit if shape.memory else None,
        calls=shape.calls,
        env=dict(shape.env),
        command=shape.command,
        health_path=shape.health_path,
        mounts=dict(shape.mounts),
        secrets={name: SecretKey(secret=one.secret, key=one.key) for name, one in shape.secrets.items()},
        routes=tuple(
            Route(name=one.name, model=one.model, key_from=one.key_from, instead_of=one.instead_of)
            for one in shape.routes
        ),
    )


def _layout(name: str, shape: LayoutShape) -> Layout:
    services = {service: _placement(placement) for service, placement in shape.services.items()}
    return Layout(name=name, kind=shape.kind or LayoutKind(name), services=services)


def _placement(shape: PlacementShape) -> Placement:
    return Placement(
        node=shape.node,
        gpus=shape.gpus,
        replicas=shape.replicas,
        name=shape.name,
        pod=shape.pod,
        config_map=shape.config_map,
        storage=shape.storage,
        env=dict(shape.env),
    )


def _engine(name: str, shape: EngineShape | None) -> EngineSettings:
    enabled_unless_said = ENGINES[name].on_by_default
    if shape is None:
        return EngineSettings(name=name, enabled=enabled_unless_said)
    return EngineSettings(
        name=name,
        enabled=enabled_unless_said if shape.enabled is None else shape.enabled,
        instances=tuple(
            Instance(name=one.name, url=one.url, node=one.node, gpu=one.gpu, memory=one.memory)
            for one in shape.instances
        ),
        options=dict(shape.options),
    )


def _queue(shape: QueueShape) -> QueueSettings:
    per_owner = shape.limits.per_owner if shape.limits else None
    return QueueSettings(
        name=shape.name,
        pool=shape.pool,
        order=shape.order,
        max_running_per_owner=per_owner.running if per_owner else None,
        max_queued_per_owner=per_owner.queued if per_owner else None,
    )


def _retention(shape: RetentionShape | None) -> Retention:
    default = Retention()
    if shape is None:
        return default
    kept = {
        "tasks": default.tasks if shape.tasks is None else shape.tasks,
        "artifacts": default.artifacts if shape.artifacts is None else shape.artifacts,
    }
    return Retention(**{name: None if value == FOREVER else value for name, value in kept.items()})


def _workload(shape: WorkloadShape, at: Path, gpu_models: Mapping[Path, GpuFacts]) -> Workload:
    facts = {model: gpu_models.get((*at, "durations", model)) for model in shape.durations}
    seconds = {
        found.name if (found := facts[model]) else model: each.total_seconds()
        for model, each in shape.durations.items()
    }
    if shape.duration is not None:
        seconds["*"] = shape.duration.total_seconds()
    return Workload(
        name=shape.name,
        engine=shape.engine,
        model=shape.model,
        service=shape.service,
        min_vram=shape.min_vram,
        prefer_node=shape.prefer_node,
        parallel_capable=shape.parallel_capable,
        seconds=seconds,
        load_s=None if shape.load_time is None else shape.load_time.total_seconds(),
        unit=shape.unit,
        per_night=shape.per_night,
    )


def _electricity(shape: ElectricityShape | None) -> Electricity | None:
    return None if shape is None else Electricity(price_per_kwh=shape.price_per_kwh, currency=shape.currency)


def _kubernetes(shape: KubernetesShape | None) -> Kubernetes | None:
    if shape is None:
        return None
    return Kubernetes(
        distribution=shape.distribution,
        server=shape.server,
        namespace=shape.namespace,
        max_pods=shape.max_pods,
        gpu_mode=shape.gpu_mode,
        label_prefix=shape.label_prefix,
        token_file=shape.token_file or Kubernetes.__dataclass_fields__["token_file"].default,
    )
