"""Pods: the nodes where they can run, and their containers with settings, resources, probes and security."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightkube.models.core_v1 import (
    ConfigMapEnvSource,
    Container,
    ContainerPort,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    ExecAction,
    HTTPGetAction,
    Lifecycle,
    LifecycleHandler,
    ObjectFieldSelector,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ResourceRequirements,
    SecretKeySelector,
    SleepAction,
    TCPSocketAction,
    Toleration,
    TopologySpreadConstraint,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta

from corral.cluster.values import ServiceKind, StorageKind
from corral.rendering import container_settings
from corral.rendering.container_settings import calculate_memory_limit, list_placement_settings, needs_shared_memory
from corral.rendering.doors import list_door_ports
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import config_maps, gpus, security, volumes
from corral.rendering.kubernetes.objects import BATCH, SERVING, make_labels, make_selector, name_port, name_workload
from corral.rendering.lending import find_lending
from corral.rendering.model_pull import forecast_start_time, make_model_pull
from corral.rendering.names import dns_name
from corral.rendering.nodes import make_node_labels, name_class_label
from corral.rendering.programs import image_of, program_of

_CONFIG_DIGEST = "corral.dev/config-digest"
_GRACE_S = 60


def build_pod_template(
    installation: Installation,
    members: Sequence[Deployed],
    files: config_maps.ProgramFiles,
    *,
    replica: int | None = None,
    is_stateful: bool = False,
) -> PodTemplateSpec:
    """The template of a workload's pods: one service, or the services that share a pod.

    `replica` is its number where each replica has a template of its own; `is_stateful` whether it is a StatefulSet's.
    """
    digest = config_maps.compute_config_digest(members, files)
    return PodTemplateSpec(
        metadata=ObjectMeta(
            labels=make_labels(installation, name_workload(members[0])),
            annotations={_CONFIG_DIGEST: digest} if digest else None,
        ),
        spec=build_pod_spec(installation, members, files, replica=replica, is_stateful=is_stateful),
    )


def build_pod_spec(
    installation: Installation,
    members: Sequence[Deployed],
    files: config_maps.ProgramFiles,
    *,
    restart: str | None = None,
    replica: int | None = None,
    is_stateful: bool = False,
) -> PodSpec:
    """The pod of a workload; `restart` is the restart policy of a Job, None for services."""
    first = members[0]
    node = volumes.find_node(members)
    replicas = max(member.replicas for member in members)
    return PodSpec(
        runtimeClassName=gpus.RUNTIME_CLASS if gpus.needs_runtime(installation, members) else None,
        priorityClassName=SERVING if restart is None else BATCH,
        automountServiceAccountToken=any(member.service.kind is ServiceKind.CORRAL for member in members),
        enableServiceLinks=False,
        serviceAccountName=name_workload(first),
        nodeSelector=_select_node(installation, node, is_queued=restart is not None or replica is not None)
        if node
        else None,
        tolerations=_tolerate_taint(members),
        restartPolicy=restart,
        terminationGracePeriodSeconds=_GRACE_S if replica is None else _GRACE_S + _count_finish_s(installation),
        securityContext=security.build_pod_security(members),
        resourceClaims=gpus.list_pod_claims(installation, members)
        if gpus.gets_gpus_by_claim(installation, members)
        else None,
        topologySpreadConstraints=_spread_replicas(installation, first) if replicas > 1 and node is None else None,
        initContainers=build_init_containers(installation, members, replica) or None,
        containers=[build_container(installation, members, member, files, replica) for member in members],
        volumes=_list_volumes(members, files, replica, is_stateful=is_stateful) or None,
    )


def _tolerate_taint(members: Sequence[Deployed]) -> list[Toleration] | None:
    """Tolerate the taint that people give to nodes with GPUs, to keep other pods away (pitfall A19)."""
    resource = gpus.name_resource(members)
    return None if resource is None else [Toleration(key=resource, operator="Exists", effect="NoSchedule")]


def _select_node(installation: Installation, name: str, *, is_queued: bool) -> dict[str, str]:
    """The host name of a node; for what Kueue admits also the class of its GPUs.

    Kueue compares a Job with the labels of a flavour and with nothing else: selected by its host name only, a Job
    would be admitted on the GPUs of any other node.
    """
    selector = {volumes.HOSTNAME: name}
    node = next((node for node in installation.cluster.nodes if node.name == name), None)
    if node is None or not is_queued:
        return selector
    labels = make_node_labels(installation.cluster, node)
    return selector | {key: labels[key] for key in (name_class_label(installation.cluster),) if key in labels}


def _list_volumes(
    members: Sequence[Deployed], files: config_maps.ProgramFiles, replica: int | None, *, is_stateful: bool
) -> list[Volume]:
    shared_memory = any(needs_shared_memory(member) for member in members)
    return [
        *volumes.build_pod_volumes(members, shared_memory=shared_memory, replica=replica, is_stateful=is_stateful),
        *config_maps.build_file_volumes(members, files),
    ]


def _spread_replicas(installation: Installation, deployed: Deployed) -> list[TopologySpreadConstraint]:
    return [
        TopologySpreadConstraint(
            maxSkew=1,
            topologyKey=volumes.HOSTNAME,
            whenUnsatisfiable="ScheduleAnyway",
            labelSelector=LabelSelector(matchLabels=make_selector(installation, name_workload(deployed))),
        )
    ]


_PERIOD_S = 10
_LEADING_PERIOD_S = 2
"""For servers that stand by for each other: another one leads within a second or two."""
_CPU_REQUEST = "100m"
_MEMORY_REQUEST = "256Mi"
"""Small requests for services without any in the cluster file, so that a namespace with a quota admits the pod."""
_NO_GPUS = EnvVar(name="NVIDIA_VISIBLE_DEVICES", value="void")
"""For containers without a GPU in a pod that runs with NVIDIA's runtime: images such as Ollama's say `all`, and would
get every GPU of the node (pitfall A08)."""


def build_container(
    installation: Installation,
    members: Sequence[Deployed],
    deployed: Deployed,
    files: config_maps.ProgramFiles,
    replica: int | None = None,
) -> Container:
    """The container of a service; `members` are the services of its pod."""
    shared_memory = needs_shared_memory(deployed)
    start = config_maps.choose_start_command(deployed, files)
    # Names of ports are unique in a pod; a second container's `http` would be taken for the first one's.
    port = name_port(deployed) if len(members) > 1 else "http"
    mounts = [
        *volumes.build_mounts(deployed, shared_memory=shared_memory, replica=replica),
        *config_maps.build_file_mounts(deployed, files),
    ]
    settings = [EnvFromSource(configMapRef=ConfigMapEnvSource(name=config_maps.name_settings(deployed)))]
    return Container(
        name=dns_name(deployed.service.name),
        image=image_of(deployed.service),
        imagePullPolicy="IfNotPresent",
        command=list(container_settings.make_launch_command(installation, deployed) or start.command) or None,
        args=list(start.args) or None,
        ports=_list_ports(installation, deployed, port) or None,
        envFrom=settings if config_maps.list_variables(deployed) else None,
        env=[*_name_pod(mounts), *_list_secrets(deployed), *_list_own_settings(installation, members, deployed)]
        or None,
        resources=_build_resources(installation, members, deployed),
        volumeMounts=mounts or None,
        lifecycle=None if replica is None else _let_finish(installation),
        securityContext=security.build_security_context(members, deployed),
        # A start is given all the time that its models need; only then do the other probes begin.
        startupProbe=_build_probe(
            deployed, port, period_s=_PERIOD_S, failures=-(-forecast_start_time(deployed) // _PERIOD_S)
        ),
        readinessProbe=_build_probe(
            deployed,
            port,
            period_s=_LEADING_PERIOD_S if deployed.has_outside_database else _PERIOD_S,
            failures=3,
            path=program_of(deployed.service).serving_path,
        ),
        livenessProbe=_build_probe(
            deployed, port, period_s=30, failures=6, path=program_of(deployed.service).live_path
        ),
    )


def _let_finish(installation: Installation) -> Lifecycle:
    """Let a replica that Kueue ends finish what it runs: its program gets the signal to end only after this time.

    Its address leaves its Service at once. Corral, which watches that, ends the time where nothing of its queue runs on
    the replica any more, by another deletion with less of it. So pods call nothing and have no token for it, their
    images need no program for it, and without Corral they end after the same time.
    """
    return Lifecycle(preStop=LifecycleHandler(sleep=SleepAction(seconds=_count_finish_s(installation))))


def _count_finish_s(installation: Installation) -> int:
    return math.ceil(find_lending(installation.cluster).lent_finish.total_seconds())


def _list_ports(installation: Installation, deployed: Deployed, name: str) -> list[ContainerPort]:
    """The main port, and those of doors."""
    if deployed.port is None:
        return []
    main = ContainerPort(name=name, containerPort=deployed.port)
    if deployed.service.kind is not ServiceKind.CORRAL:
        return [main]
    doors = list_door_ports(installation.cluster).items()
    return [main, *(ContainerPort(name=dns_name(door), containerPort=port) for door, port in doors)]


def build_init_containers(
    installation: Installation, members: Sequence[Deployed], replica: int | None = None
) -> list[Container]:
    """The containers that fill volumes before the start: Ollama's models are pulled, addresses of files downloaded."""
    containers = (_build_filling_container(installation, members, member, replica) for member in members)
    return [container for container in containers if container is not None]


def _build_filling_container(
    installation: Installation, members: Sequence[Deployed], deployed: Deployed, replica: int | None
) -> Container | None:
    filling = make_model_pull(installation, deployed)
    if filling is None:
        return None
    mounts = volumes.build_mounts(deployed, shared_memory=False, replica=replica)[:1]
    env = [*_name_pod(mounts), *(EnvVar(name=name, value=value) for name, value in filling.env.items())]
    if filling.image == image_of(deployed.service):
        env += security.list_user_settings(deployed)
    if gpus.needs_runtime(installation, members):
        env.append(_NO_GPUS)
    return Container(
        name=dns_name(filling.name),
        image=filling.image,
        imagePullPolicy="IfNotPresent",
        command=["sh", "-c", filling.script],
        env=env or None,
        volumeMounts=mounts,
        resources=ResourceRequirements(requests={"cpu": _CPU_REQUEST, "memory": _MEMORY_REQUEST}),
        securityContext=security.build_security_context(members, deployed, computes=False),
    )


def _list_own_settings(installation: Installation, members: Sequence[Deployed], deployed: Deployed) -> list[EnvVar]:
    settings = list_placement_settings(installation, members, deployed)
    hides_gpus = deployed.gpu_count == 0 and gpus.needs_runtime(installation, members)
    return [
        *(EnvVar(name=name, value=value) for name, value in settings.items()),
        *security.list_user_settings(deployed),
        *([_NO_GPUS] if hides_gpus else []),
    ]


def _name_pod(mounts: Sequence[VolumeMount]) -> list[EnvVar]:
    """The name of the pod, for mounts of folders that are called after it."""
    if not any(mount.subPathExpr for mount in mounts):
        return []
    source = EnvVarSource(fieldRef=ObjectFieldSelector(fieldPath="metadata.name"))
    return [EnvVar(name=volumes.POD_NAME, valueFrom=source)]


def _list_secrets(deployed: Deployed) -> list[EnvVar]:
    return [
        EnvVar(name=name, valueFrom=EnvVarSource(secretKeyRef=SecretKeySelector(name=key.secret, key=key.key)))
        for name, key in deployed.secrets.items()
    ]


def _build_resources(
    installation: Installation, members: Sequence[Deployed], deployed: Deployed
) -> ResourceRequirements:
    """Requests and limits; of memory only those in the cluster file: mapped weights would count towards a limit
    (pitfall A25)."""
    by_claim = gpus.gets_gpus_by_claim(installation, members)
    limits: dict[str, str] = {}
    if deployed.gpu_count and not by_claim:
        limits[deployed.gpu_resource or gpus.RESOURCE] = str(deployed.gpu_count)
    limit = calculate_memory_limit(deployed)
    if limit is not None:
        limits["memory"] = volumes.format_quantity(limit)
    request = deployed.service.memory_request
    memory = volumes.format_quantity(request) if request else _MEMORY_REQUEST
    return ResourceRequirements(
        limits=limits or None,
        requests={"cpu": _CPU_REQUEST, "memory": memory} | _request_scratch(members, deployed),
        claims=gpus.list_container_claims() if by_claim and deployed.gpu_count else None,
    )


def _request_scratch(members: Sequence[Deployed], deployed: Deployed) -> dict[str, str]:
    """Space on the node's disk for volumes that live as long as the pod, requested by the first service that uses
    each."""
    earlier = {storage.name for member in members[: members.index(deployed)] for storage in member.storage}
    size = sum(
        storage.size or 0
        for storage in deployed.storage
        if storage.kind is StorageKind.EPHEMERAL and storage.name not in earlier
    )
    return {"ephemeral-storage": volumes.format_quantity(size)} if size else {}


def _build_probe(
    deployed: Deployed, port: str, *, period_s: int, failures: int, path: str | None = None
) -> Probe | None:
    """Probe a container by its health path, by a command of its program, else by connecting to its port."""
    if deployed.port is None:
        return None
    program = program_of(deployed.service)
    health_path = deployed.service.health_path or path or program.health_path
    by_command = not health_path and program.ready_command
    return Probe(
        httpGet=HTTPGetAction(path=health_path, port=port) if health_path else None,
        exec=ExecAction(command=list(program.ready_command)) if by_command else None,
        tcpSocket=None if health_path or by_command else TCPSocketAction(port=port),
        periodSeconds=period_s,
        timeoutSeconds=5,
        failureThreshold=failures,
    )
