"""Pods: containers with their probes, resources, settings and security, and what they need before they start."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from lightkube.models.core_v1 import (
    Capabilities,
    ConfigMapEnvSource,
    Container,
    ContainerPort,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    HTTPGetAction,
    PodSecurityContext,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ResourceRequirements,
    SeccompProfile,
    SecretKeySelector,
    SecurityContext,
    TCPSocketAction,
    TopologySpreadConstraint,
)
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta

from corral.rendering.filling import filling_of
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import files, gpus, volumes
from corral.rendering.kubernetes.naming import SERVING, labels_of, selector_of, workload_name
from corral.rendering.loading import seconds_to_load
from corral.rendering.programs import image_of, program_of

RUNTIME_CLASS = "nvidia"
CONFIG_DIGEST = "corral.dev/config-digest"
_PERIOD_S = 10
_SHORTEST_START_S = 120
"""What a program without models gets to start, image unpacking not counted."""
_PATIENCE = 3
"""How many times the forecast load time a start may take before it counts as failed: disks are shared."""
_CPU_REQUEST = "100m"
_MEMORY_REQUEST = "256Mi"
"""Small requests where the file says nothing, so that a namespace with a quota admits the pod."""


def template(installation: Installation, members: Sequence[Deployed]) -> PodTemplateSpec:
    """The template of the pods of a workload: one service, or those that share a pod."""
    name = workload_name(members[0])
    digest = config_digest(installation, members)
    return PodTemplateSpec(
        metadata=ObjectMeta(
            labels=labels_of(installation, name), annotations={CONFIG_DIGEST: digest} if digest else None
        ),
        spec=pod_spec(installation, members),
    )


def pod_spec(installation: Installation, members: Sequence[Deployed], *, restart: str | None = None) -> PodSpec:
    """The pod of a workload."""
    first = members[0]
    count = gpus.gpus_of(members)
    node = first.node or next((bound for one in members if (bound := volumes.bound_node(one))), None)
    claimed = gpus.by_claim(installation, members)
    replicas = max(one.replicas for one in members)
    return PodSpec(
        runtimeClassName=RUNTIME_CLASS if count else None,
        priorityClassName=SERVING if restart is None else None,
        automountServiceAccountToken=False,
        enableServiceLinks=False,
        serviceAccountName=workload_name(first),
        nodeSelector={volumes.HOSTNAME: node} if node else None,
        restartPolicy=restart,
        terminationGracePeriodSeconds=60,
        securityContext=_pod_security(members),
        resourceClaims=gpus.pod_claims(members) if claimed else None,
        topologySpreadConstraints=_spread(installation, first) if replicas > 1 and node is None else None,
        initContainers=_before(installation, members) or None,
        containers=[container(installation, one, count=count, claimed=claimed) for one in members],
        volumes=[*volumes.pod_volumes(members, shared_memory=count > 1), *files.volumes(installation, members)] or None,
    )


def container(installation: Installation, one: Deployed, *, count: int, claimed: bool) -> Container:
    """The container of a service; `count` is how many GPUs its pod has."""
    has_gpu = one.gpu_count > 0
    shared_memory = has_gpu and count > 1
    env = [*_settings(one, several=shared_memory), *_secrets(one)]
    told = files.words(installation, one)
    mounts = [*volumes.mounts(one, shared_memory=shared_memory), *files.mounts(installation, one)]
    return Container(
        name=one.service.name,
        image=image_of(one),
        imagePullPolicy="IfNotPresent",
        command=list(told.command) or None,
        args=list(told.args) or None,
        ports=[ContainerPort(name="http", containerPort=one.port)] if one.port else None,
        envFrom=[EnvFromSource(configMapRef=ConfigMapEnvSource(name=config_map_name(one)))] if one.env else None,
        env=env or None,
        resources=_resources(one, claimed=claimed, shared_memory=shared_memory),
        volumeMounts=mounts or None,
        securityContext=_security(),
        startupProbe=_startup(one),
        readinessProbe=_probe(one, period=_PERIOD_S, failures=3),
        livenessProbe=_probe(one, period=30, failures=6),
    )


def config_map_name(one: Deployed) -> str:
    """The ConfigMap with the settings of a service."""
    return one.config_map or f"{one.name}-config"


def config_digest(installation: Installation, members: Sequence[Deployed]) -> str:
    """A digest of all settings and files: pods start anew when one changes, since a running pod never sees it."""
    settings = {one.name: dict(one.env) | files.without_comments(installation, one) for one in members}
    known = {name: values for name, values in settings.items() if values}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16] if known else ""


def _settings(one: Deployed, *, several: bool) -> list[EnvVar]:
    """Variables that the GPUs ask for: GeForce cards have no peer-to-peer access, and NCCL hangs where it tries it."""
    return [EnvVar(name="NCCL_P2P_DISABLE", value="1"), EnvVar(name="NCCL_IB_DISABLE", value="1")] if several else []


def _secrets(one: Deployed) -> list[EnvVar]:
    return [
        EnvVar(name=name, valueFrom=EnvVarSource(secretKeyRef=SecretKeySelector(name=key.secret, key=key.key)))
        for name, key in one.secrets.items()
    ]


def _resources(one: Deployed, *, claimed: bool, shared_memory: bool) -> ResourceRequirements:
    service = one.service
    limits: dict[str, str] = {}
    if one.gpu_count and not claimed:
        limits[gpus.RESOURCE] = str(one.gpu_count)
    if service.memory_limit is not None:
        extra = 8 * 2**30 if shared_memory else 0  # /dev/shm counts to the container's memory
        limits["memory"] = volumes.quantity(service.memory_limit + extra)
    request = volumes.quantity(service.memory_request) if service.memory_request else _MEMORY_REQUEST
    return ResourceRequirements(
        limits=limits or None,
        requests={"cpu": _CPU_REQUEST, "memory": request},
        claims=gpus.container_claims() if claimed and one.gpu_count else None,
    )


def _startup(one: Deployed) -> Probe | None:
    """Give a start as long as the forecast says that its models take to load, several times over."""
    limit = max(_SHORTEST_START_S, _PATIENCE * seconds_to_load(one))
    return _probe(one, period=_PERIOD_S, failures=-(-limit // _PERIOD_S))


def _probe(one: Deployed, *, period: int, failures: int) -> Probe | None:
    if one.port is None:
        return None
    path = one.service.health_path or program_of(one.service).health_path
    return Probe(
        httpGet=HTTPGetAction(path=path, port="http") if path else None,
        tcpSocket=None if path else TCPSocketAction(port="http"),
        periodSeconds=period,
        timeoutSeconds=5,
        failureThreshold=failures,
    )


def _pod_security(members: Sequence[Deployed]) -> PodSecurityContext:
    """Run as the user that the image is made for, where that is known; files on volumes get its group."""
    users = {program_of(one.service).user for one in members}
    user = users.pop() if len(users) == 1 else None
    return PodSecurityContext(
        runAsNonRoot=True if user else None,
        runAsUser=user,
        fsGroup=user,
        fsGroupChangePolicy="OnRootMismatch" if user else None,
        seccompProfile=SeccompProfile(type="RuntimeDefault"),
    )


def _security() -> SecurityContext:
    """As strict as a GPU allows: devices come from the runtime, so no privilege and no capability is needed."""
    return SecurityContext(allowPrivilegeEscalation=False, capabilities=Capabilities(drop=["ALL"]))


def _spread(installation: Installation, one: Deployed) -> list[TopologySpreadConstraint]:
    return [
        TopologySpreadConstraint(
            maxSkew=1,
            topologyKey=volumes.HOSTNAME,
            whenUnsatisfiable="ScheduleAnyway",
            labelSelector=LabelSelector(matchLabels=selector_of(installation, workload_name(one))),
        )
    ]


def _before(installation: Installation, members: Sequence[Deployed]) -> list[Container]:
    """What fills the volumes before the start: Ollama's models are pulled, addresses of files downloaded."""
    return [found for one in members if (found := _filling(installation, one)) is not None]


def _filling(installation: Installation, one: Deployed) -> Container | None:
    found = filling_of(installation, one)
    if found is None:
        return None
    mount = volumes.mounts(one, shared_memory=False)[:1]
    env = [EnvVar(name=name, value=value) for name, value in found.env.items()]
    return Container(
        name=found.name,
        image=found.image,
        imagePullPolicy="IfNotPresent",
        command=["sh", "-c", found.script],
        env=env or None,
        volumeMounts=mount,
        resources=ResourceRequirements(requests={"cpu": _CPU_REQUEST, "memory": _MEMORY_REQUEST}),
        securityContext=_security(),
    )
