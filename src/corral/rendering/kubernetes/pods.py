"""Pods: their containers, where they may run, and what fills their volumes before they start."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from lightkube.models.core_v1 import (
    Container,
    EnvVar,
    PodSecurityContext,
    PodSpec,
    PodTemplateSpec,
    ResourceRequirements,
    SeccompProfile,
    Toleration,
    TopologySpreadConstraint,
    Volume,
)
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta

from corral.rendering.filling import filling_of
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import files, gpus, volumes
from corral.rendering.kubernetes.containers import (
    CPU_REQUEST,
    MEMORY_REQUEST,
    NO_GPUS,
    container,
    security,
    variables,
)
from corral.rendering.kubernetes.naming import BATCH, SERVING, labels_of, selector_of, workload_name
from corral.rendering.names import dns_name
from corral.rendering.node_labels import class_label, make_node_labels
from corral.rendering.placed import needs_shared_memory
from corral.rendering.programs import program_of

RUNTIME_CLASS = "nvidia"
CONFIG_DIGEST = "corral.dev/config-digest"
_TOLERATED = Toleration(key=gpus.RESOURCE, operator="Exists", effect="NoSchedule")
"""The taint that people give to nodes with GPUs, to keep others away (pitfall A19)."""


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
    node = volumes.node_of(members)
    claimed = gpus.by_claim(installation, members)
    has_gpus = gpus.gpus_of(members) > 0
    replicas = max(one.replicas for one in members)
    return PodSpec(
        runtimeClassName=RUNTIME_CLASS if gpus.with_runtime(installation, members) else None,
        priorityClassName=SERVING if restart is None else BATCH,
        automountServiceAccountToken=False,
        enableServiceLinks=False,
        serviceAccountName=workload_name(first),
        nodeSelector=_place(installation, node, is_job=restart is not None) if node else None,
        tolerations=[_TOLERATED] if has_gpus else None,
        restartPolicy=restart,
        terminationGracePeriodSeconds=60,
        securityContext=_pod_security(members),
        resourceClaims=gpus.pod_claims(members) if claimed else None,
        topologySpreadConstraints=_spread(installation, first) if replicas > 1 and node is None else None,
        initContainers=_before(installation, members) or None,
        containers=[container(installation, members, one) for one in members],
        volumes=_volumes(installation, members) or None,
    )


def _place(installation: Installation, name: str, *, is_job: bool) -> dict[str, str]:
    """The node; for a Job also the class of its cards.

    Kueue compares a Job with the labels of a flavour and with nothing else: by its host name alone it would be let in
    on the cards of any other node.
    """
    found = {volumes.HOSTNAME: name}
    node = next((node for node in installation.cluster.nodes if node.name == name), None)
    if node is None or not is_job:
        return found
    labels = make_node_labels(installation.cluster, node)
    return found | {key: labels[key] for key in (class_label(installation.cluster),) if key in labels}


def _volumes(installation: Installation, members: Sequence[Deployed]) -> list[Volume]:
    shared_memory = any(needs_shared_memory(one) for one in members)
    return [*volumes.pod_volumes(members, shared_memory=shared_memory), *files.volumes(installation, members)]


def config_digest(installation: Installation, members: Sequence[Deployed]) -> str:
    """A digest of all settings and files: pods start anew when one changes, since a running pod never sees it."""
    settings = {one.name: variables(one) | files.without_comments(installation, one) for one in members}
    known = {name: values for name, values in settings.items() if values}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16] if known else ""


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
    return [found for one in members if (found := _filling(installation, members, one)) is not None]


def _filling(installation: Installation, members: Sequence[Deployed], one: Deployed) -> Container | None:
    found = filling_of(installation, one)
    if found is None:
        return None
    mount = volumes.mounts(one, shared_memory=False)[:1]
    env = [EnvVar(name=name, value=value) for name, value in found.env.items()]
    if gpus.with_runtime(installation, members):
        env.append(NO_GPUS)
    return Container(
        name=dns_name(found.name),
        image=found.image,
        imagePullPolicy="IfNotPresent",
        command=["sh", "-c", found.script],
        env=env or None,
        volumeMounts=mount,
        resources=ResourceRequirements(requests={"cpu": CPU_REQUEST, "memory": MEMORY_REQUEST}),
        securityContext=security(),
    )
