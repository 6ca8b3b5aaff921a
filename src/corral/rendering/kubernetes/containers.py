"""Containers: settings, resources, probes and security."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lightkube.models.core_v1 import (
    Capabilities,
    ConfigMapEnvSource,
    Container,
    ContainerPort,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    ExecAction,
    HTTPGetAction,
    Probe,
    ResourceRequirements,
    SecretKeySelector,
    SecurityContext,
    TCPSocketAction,
)

from corral.cluster.values import StorageKind
from corral.rendering import training
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import files, gpus, volumes
from corral.rendering.loading import seconds_to_load
from corral.rendering.names import dns_name, with_suffix
from corral.rendering.placed import memory_limit, needs_shared_memory, placed_settings
from corral.rendering.programs import image_of, program_of

PERIOD_S = 10
_SHORTEST_START_S = 120
"""What a program without models gets to start. Pulling its image is not counted: probes begin when it runs."""
_PATIENCE = 3
"""How many times the forecast load time a start may take before it counts as failed: disks are shared."""
CPU_REQUEST = "100m"
MEMORY_REQUEST = "256Mi"
"""Small requests where the file says nothing, so that a namespace with a quota admits the pod."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NO_GPUS = EnvVar(name="NVIDIA_VISIBLE_DEVICES", value="void")
"""For containers without a GPU in a pod that runs with NVIDIA's runtime: images such as Ollama's say `all`, and would
be given every card of the node (pitfall A08)."""


def container(installation: Installation, members: Sequence[Deployed], one: Deployed) -> Container:
    """The container of a service; `members` are those of its pod."""
    shared_memory = needs_shared_memory(one)
    told = files.words(installation, one)
    mounts = [*volumes.mounts(one, shared_memory=shared_memory), *files.mounts(installation, one)]
    settings = [EnvFromSource(configMapRef=ConfigMapEnvSource(name=config_map_name(one)))]
    return Container(
        name=dns_name(one.service.name),
        image=image_of(one.service),
        imagePullPolicy="IfNotPresent",
        command=list(training.launched(installation, one) or told.command) or None,
        args=list(told.args) or None,
        ports=[ContainerPort(name="http", containerPort=one.port)] if one.port else None,
        envFrom=settings if variables(one) else None,
        env=[*_secrets(one), *_own_settings(installation, members, one)] or None,
        resources=_resources(installation, members, one),
        volumeMounts=mounts or None,
        securityContext=security(),
        startupProbe=_probe(one, period=PERIOD_S, failures=-(-seconds_to_start(one) // PERIOD_S)),
        readinessProbe=_probe(one, period=PERIOD_S, failures=3),
        livenessProbe=_probe(one, period=30, failures=6, path=program_of(one.service).live_path),
    )


def config_map_name(one: Deployed) -> str:
    """The ConfigMap with the settings of a service."""
    return one.config_map or with_suffix(one.name, "config")


def variables(one: Deployed) -> dict[str, str]:
    """The settings of a service that can be variables of its environment."""
    return {name: value for name, value in one.env.items() if _VARIABLE.fullmatch(name)}


def seconds_to_start(one: Deployed) -> int:
    """Give a start as long as the forecast says that its models take to load, several times over."""
    return max(_SHORTEST_START_S, _PATIENCE * seconds_to_load(one))


def security() -> SecurityContext:
    """As strict as a GPU allows: devices come from the runtime, so no privilege and no capability is needed."""
    return SecurityContext(allowPrivilegeEscalation=False, capabilities=Capabilities(drop=["ALL"]))


def _own_settings(installation: Installation, members: Sequence[Deployed], one: Deployed) -> list[EnvVar]:
    found = placed_settings(installation, members, one)
    is_beside = one.gpu_count == 0 and gpus.with_runtime(installation, members)
    return [*(EnvVar(name=name, value=value) for name, value in found.items()), *([NO_GPUS] if is_beside else [])]


def _secrets(one: Deployed) -> list[EnvVar]:
    return [
        EnvVar(name=name, valueFrom=EnvVarSource(secretKeyRef=SecretKeySelector(name=key.secret, key=key.key)))
        for name, key in one.secrets.items()
    ]


def _resources(installation: Installation, members: Sequence[Deployed], one: Deployed) -> ResourceRequirements:
    """Requests and limits; of memory only what the file names: mapped weights would count to a limit (pitfall A25)."""
    service = one.service
    claimed = gpus.by_claim(installation, members)
    limits: dict[str, str] = {}
    if one.gpu_count and not claimed:
        limits[gpus.RESOURCE] = str(one.gpu_count)
    limit = memory_limit(one)
    if limit is not None:
        limits["memory"] = volumes.quantity(limit)
    request = volumes.quantity(service.memory_request) if service.memory_request else MEMORY_REQUEST
    requests = {"cpu": CPU_REQUEST, "memory": request} | _ephemeral(members, one)
    return ResourceRequirements(
        limits=limits or None,
        requests=requests,
        claims=gpus.container_claims() if claimed and one.gpu_count else None,
    )


def _ephemeral(members: Sequence[Deployed], one: Deployed) -> dict[str, str]:
    """Room on the node's disk for volumes that are made with the pod, asked for by the first that uses each."""
    earlier = {storage.name for each in members[: members.index(one)] for storage in each.storage}
    sizes = [
        storage.size or 0
        for storage in one.storage
        if storage.kind is StorageKind.EPHEMERAL and storage.name not in earlier
    ]
    return {"ephemeral-storage": volumes.quantity(sum(sizes))} if sum(sizes) else {}


def _probe(one: Deployed, *, period: int, failures: int, path: str | None = None) -> Probe | None:
    """Ask a container how it is: by its health path, by a command of its program, or whether its port is open."""
    if one.port is None:
        return None
    program = program_of(one.service)
    asked = one.service.health_path or path or program.health_path
    by_command = not asked and program.ready_command
    return Probe(
        httpGet=HTTPGetAction(path=asked, port="http") if asked else None,
        exec=ExecAction(command=list(program.ready_command)) if by_command else None,
        tcpSocket=None if asked or by_command else TCPSocketAction(port="http"),
        periodSeconds=period,
        timeoutSeconds=5,
        failureThreshold=failures,
    )
