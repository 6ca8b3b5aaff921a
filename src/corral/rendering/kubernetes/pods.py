"""Pods: their containers, and the nodes where they can run."""

from __future__ import annotations

from collections.abc import Sequence

from lightkube.models.core_v1 import (
    PodSecurityContext,
    PodSpec,
    PodTemplateSpec,
    SeccompProfile,
    Toleration,
    TopologySpreadConstraint,
    Volume,
)
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta

from corral.rendering.container_settings import needs_shared_memory
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import config_maps, gpus, volumes
from corral.rendering.kubernetes.containers import build_container, build_init_containers
from corral.rendering.kubernetes.objects import BATCH, SERVING, make_labels, make_selector, name_workload
from corral.rendering.nodes import make_node_labels, name_class_label
from corral.rendering.programs import program_of

_CONFIG_DIGEST = "corral.dev/config-digest"
_TOLERATED = Toleration(key=gpus.RESOURCE, operator="Exists", effect="NoSchedule")
"""The taint that people give to nodes with GPUs, to keep other pods away (pitfall A19)."""


def build_pod_template(
    installation: Installation, members: Sequence[Deployed], files: config_maps.ProgramFiles
) -> PodTemplateSpec:
    """The template of a workload's pods: one service, or the services that share a pod."""
    digest = config_maps.compute_config_digest(members, files)
    return PodTemplateSpec(
        metadata=ObjectMeta(
            labels=make_labels(installation, name_workload(members[0])),
            annotations={_CONFIG_DIGEST: digest} if digest else None,
        ),
        spec=build_pod_spec(installation, members, files),
    )


def build_pod_spec(
    installation: Installation,
    members: Sequence[Deployed],
    files: config_maps.ProgramFiles,
    *,
    restart: str | None = None,
) -> PodSpec:
    """The pod of a workload; `restart` is the restart policy of a Job, None for services."""
    first = members[0]
    node = volumes.find_node(members)
    replicas = max(member.replicas for member in members)
    return PodSpec(
        runtimeClassName=gpus.RUNTIME_CLASS if gpus.needs_runtime(installation, members) else None,
        priorityClassName=SERVING if restart is None else BATCH,
        automountServiceAccountToken=False,
        enableServiceLinks=False,
        serviceAccountName=name_workload(first),
        nodeSelector=_select_node(installation, node, is_job=restart is not None) if node else None,
        tolerations=[_TOLERATED] if gpus.count_gpus(members) else None,
        restartPolicy=restart,
        terminationGracePeriodSeconds=60,
        securityContext=_build_pod_security(members),
        resourceClaims=gpus.list_pod_claims(members) if gpus.gets_gpus_by_claim(installation, members) else None,
        topologySpreadConstraints=_spread_replicas(installation, first) if replicas > 1 and node is None else None,
        initContainers=build_init_containers(installation, members) or None,
        containers=[build_container(installation, members, member, files) for member in members],
        volumes=_list_volumes(members, files) or None,
    )


def _select_node(installation: Installation, name: str, *, is_job: bool) -> dict[str, str]:
    """The host name of a node; for a Job also the class of its GPUs.

    Kueue compares a Job with the labels of a flavour and with nothing else: selected by its host name only, a Job
    would be admitted on the GPUs of any other node.
    """
    selector = {volumes.HOSTNAME: name}
    node = next((node for node in installation.cluster.nodes if node.name == name), None)
    if node is None or not is_job:
        return selector
    labels = make_node_labels(installation.cluster, node)
    return selector | {key: labels[key] for key in (name_class_label(installation.cluster),) if key in labels}


def _list_volumes(members: Sequence[Deployed], files: config_maps.ProgramFiles) -> list[Volume]:
    shared_memory = any(needs_shared_memory(member) for member in members)
    return [
        *volumes.build_pod_volumes(members, shared_memory=shared_memory),
        *config_maps.build_file_volumes(members, files),
    ]


def _build_pod_security(members: Sequence[Deployed]) -> PodSecurityContext:
    """Run as the user that the image is made for, if that is known; files on volumes get its group."""
    users = {program_of(member.service).user for member in members}
    user = users.pop() if len(users) == 1 else None
    return PodSecurityContext(
        runAsNonRoot=True if user else None,
        runAsUser=user,
        fsGroup=user,
        fsGroupChangePolicy="OnRootMismatch" if user else None,
        seccompProfile=SeccompProfile(type="RuntimeDefault"),
    )


def _spread_replicas(installation: Installation, deployed: Deployed) -> list[TopologySpreadConstraint]:
    return [
        TopologySpreadConstraint(
            maxSkew=1,
            topologyKey=volumes.HOSTNAME,
            whenUnsatisfiable="ScheduleAnyway",
            labelSelector=LabelSelector(matchLabels=make_selector(installation, name_workload(deployed))),
        )
    ]
