"""Workloads: Deployments, StatefulSets and Jobs, such that an update never needs a GPU that is not free.

A Deployment's update starts a pod before it stops one, which deadlocks if every GPU is taken (pitfall A02); GPU
workloads therefore stop first. Programs with state of their own (ComfyUI's queue and history, Ollama's models) are
StatefulSets, so that each replica keeps its address.
"""

from __future__ import annotations

from collections.abc import Sequence

from lightkube.models.apps_v1 import (
    DeploymentSpec,
    DeploymentStrategy,
    RollingUpdateDeployment,
    StatefulSetSpec,
)
from lightkube.models.batch_v1 import JobSpec
from lightkube.models.core_v1 import PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.policy_v1 import PodDisruptionBudgetSpec
from lightkube.resources.apps_v1 import Deployment, StatefulSet
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import ServiceAccount
from lightkube.resources.policy_v1 import PodDisruptionBudget

from corral.cluster.values import ServiceKind, StorageKind
from corral.rendering.container_settings import is_job
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import pods, volumes
from corral.rendering.kubernetes.config_maps import ProgramFiles
from corral.rendering.kubernetes.objects import (
    BATCH,
    INTERACTIVE,
    LENT,
    PRIORITY_LABEL,
    QUEUE_LABEL,
    READY_REPLICAS,
    REPLICA,
    make_labels,
    make_metadata,
    make_selector,
    name_local_queue,
    name_workload,
)
from corral.rendering.lending import find_lending, find_queue, lends
from corral.rendering.model_pull import forecast_start_time, make_model_pull
from corral.rendering.names import add_suffix
from corral.rendering.programs import image_of, program_of

_PULLED_S = 1_800
"""The time for pulling images: 12 GB over 100 Mbit/s take 16 minutes. Only then does a rollout count as stuck."""
_NO_DEADLINE = 2**31 - 1
"""For Deployments of which a pod that stands by is never ready: their update would count as stuck (`kubectl explain
deployment.spec.progressDeadlineSeconds`; its largest value is none)."""
_LONGEST_JOB_S = 24 * 3600
_KEPT_AFTER_S = 7 * 24 * 3600


def group_by_pod(installation: Installation) -> list[tuple[Deployed, ...]]:
    """The services of a layout by pod, without Jobs and without services that have no image."""
    pods_by_name: dict[str, list[Deployed]] = {}
    for deployed in installation.deployed:
        if not is_job(deployed) and image_of(deployed.service) is not None:
            key = f"pod {deployed.pod}" if deployed.pod else f"service {deployed.service.name}"
            pods_by_name.setdefault(key, []).append(deployed)
    return [tuple(members) for members in pods_by_name.values()]


def list_jobs(installation: Installation) -> list[Deployed]:
    """The Jobs of a layout that have an image."""
    return [
        deployed for deployed in installation.deployed if is_job(deployed) and image_of(deployed.service) is not None
    ]


def is_lent(installation: Installation, members: Sequence[Deployed]) -> bool:
    """Return whether a pod lends its GPUs to Jobs.

    Not where it shares a pod or a GPU: a Job would end the others, too. Not where several replicas would fill a volume
    at once, which a StatefulSet does one after the other.
    """
    first = members[0]
    return (
        len(members) == 1
        and first.gpu_count > 0
        and lends(installation.cluster, first.service)
        and find_queue(installation.cluster, first.node) is not None
        and not installation.places.shares(first.service.name)
        and not (first.replicas > 1 and make_model_pull(installation, first))
    )


def is_stateful(installation: Installation, members: Sequence[Deployed]) -> bool:
    """Return whether a pod's replicas are those of a StatefulSet: where each needs an address of its own."""
    keeps_state = any(program_of(member.service).keeps_state for member in members)
    return keeps_state and not is_lent(installation, members)


def name_replica(members: Sequence[Deployed], replica: int) -> str:
    """Name the pod of a replica, or its Deployment."""
    return f"{name_workload(members[0])}-{replica}"


def count_replicas(members: Sequence[Deployed]) -> int:
    """The pods of a workload; 0 for services on demand, which are scaled up when it is their turn."""
    return 0 if all(member.on_demand for member in members) else max(member.replicas for member in members)


def name_headless_service(members: Sequence[Deployed]) -> str:
    """Name the Service that gives each replica of a StatefulSet its address."""
    return add_suffix(name_workload(members[0]), "replicas")


def build_workloads(
    installation: Installation, members: Sequence[Deployed], files: ProgramFiles
) -> list[Deployment | StatefulSet]:
    """The Deployment or StatefulSet of a pod; of one that lends its GPUs, a Deployment for each replica."""
    first = members[0]
    name = name_workload(first)
    if is_lent(installation, members):
        return [_build_lent(installation, members, files, replica) for replica in range(first.replicas)]
    replicas = count_replicas(members)
    metadata = make_metadata(installation, name, first.namespace)
    selector = LabelSelector(matchLabels=make_selector(installation, name))
    stateful = is_stateful(installation, members)
    template = pods.build_pod_template(installation, members, files, is_stateful=stateful)
    if stateful:
        spec = StatefulSetSpec(
            serviceName=name_headless_service(members),
            replicas=replicas,
            podManagementPolicy=_choose_start_order(installation, members),
            selector=selector,
            template=template,
            volumeClaimTemplates=[*volumes.build_claim_templates(installation, members)] or None,
        )
        return [StatefulSet(metadata=metadata, spec=spec)]
    if _has_standby(members):
        metadata.annotations = {READY_REPLICAS: "1"}
    return [Deployment(metadata=metadata, spec=_make_deployment(members, replicas, selector, template))]


def _make_deployment(
    members: Sequence[Deployed], replicas: int, selector: LabelSelector, template: PodTemplateSpec
) -> DeploymentSpec:
    deadline = _PULLED_S + max(forecast_start_time(member) for member in members)
    return DeploymentSpec(
        replicas=replicas,
        progressDeadlineSeconds=_NO_DEADLINE if _has_standby(members) else deadline,
        strategy=_choose_update_strategy(members, replicas),
        selector=selector,
        template=template,
    )


def _has_standby(members: Sequence[Deployed]) -> bool:
    """Return whether several of Corral's servers stand by for each other; the one that leads is the only ready one."""
    return any(member.has_outside_database for member in members) and count_replicas(members) > 1


def _build_lent(
    installation: Installation, members: Sequence[Deployed], files: ProgramFiles, replica: int
) -> Deployment:
    """One replica, which Kueue admits, and ends when a Job of higher priority needs its GPU."""
    first = members[0]
    own = {REPLICA: str(replica)}
    queue = find_queue(installation.cluster, first.node) or ""
    priority = INTERACTIVE if replica < find_lending(installation.cluster).lent_keep else LENT
    queued = {QUEUE_LABEL: name_local_queue(queue), PRIORITY_LABEL: priority}
    template = pods.build_pod_template(installation, members, files, replica=replica)
    template.metadata = ObjectMeta(
        labels=make_labels(installation, name_workload(first)) | own,
        annotations=template.metadata.annotations if template.metadata else None,
    )
    name = name_replica(members, replica)
    selector = LabelSelector(matchLabels=make_selector(installation, name_workload(first)) | own)
    return Deployment(
        metadata=ObjectMeta(name=name, namespace=first.namespace, labels=make_labels(installation, name) | queued),
        spec=_make_deployment(members, min(1, count_replicas(members)), selector, template),
    )


def build_job(installation: Installation, deployed: Deployed, files: ProgramFiles) -> Job:
    """A Job as a template: suspended, so that applying it starts nothing; Kueue starts it when its queue has room."""
    name = name_workload(deployed)
    labels = make_labels(installation, name)
    queue = find_queue(installation.cluster, deployed.node)
    if queue is not None:
        labels |= {QUEUE_LABEL: name_local_queue(queue), PRIORITY_LABEL: BATCH}
    return Job(
        metadata=ObjectMeta(name=name, namespace=deployed.namespace, labels=labels),
        spec=JobSpec(
            suspend=True,
            backoffLimit=1,
            activeDeadlineSeconds=_LONGEST_JOB_S,
            ttlSecondsAfterFinished=_KEPT_AFTER_S,
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels=make_labels(installation, name)),
                spec=pods.build_pod_spec(installation, (deployed,), files, restart="Never"),
            ),
        ),
    )


def build_service_account(installation: Installation, deployed: Deployed) -> ServiceAccount:
    """An account without rights, so that no pod runs as `default`."""
    return ServiceAccount(
        metadata=make_metadata(installation, name_workload(deployed), deployed.namespace),
        automountServiceAccountToken=False,
    )


def build_disruption_budgets(installation: Installation, members: Sequence[Deployed]) -> list[PodDisruptionBudget]:
    """Let one replica at a time be evicted, and a replica that does not run always.

    There is no budget for a single replica, which would block every drain (pitfall A24), and none for replicas that
    cannot start anywhere else, since their node or GPUs are fixed: the first to be evicted would hold back the rest.
    Nor is there one for servers that stand by for each other: the only one that is ready could never be evicted.
    """
    is_bound = volumes.find_node(members) is not None or any(member.gpu_count for member in members)
    if is_bound or _has_standby(members) or max(member.replicas for member in members) < 2:
        return []
    name = name_workload(members[0])
    return [
        PodDisruptionBudget(
            metadata=make_metadata(installation, name, members[0].namespace),
            spec=PodDisruptionBudgetSpec(
                maxUnavailable=1,
                unhealthyPodEvictionPolicy="AlwaysAllow",
                selector=LabelSelector(matchLabels=make_selector(installation, name)),
            ),
        )
    ]


def _choose_start_order(installation: Installation, members: Sequence[Deployed]) -> str:
    """All replicas at once; one after the other if each would pull the same models into a shared volume."""
    fills = any(member.replicas > 1 and make_model_pull(installation, member) for member in members)
    return "OrderedReady" if fills else "Parallel"


def _choose_update_strategy(members: Sequence[Deployed], replicas: int) -> DeploymentStrategy:
    if any(member.service.kind is ServiceKind.CORRAL and not member.has_outside_database for member in members):
        return DeploymentStrategy(type="Recreate")  # its database has one server at a time
    if _has_standby(members):
        # The one that leads is the only ready one, and an update that keeps it would wait for another to be ready.
        return DeploymentStrategy(
            type="RollingUpdate", rollingUpdate=RollingUpdateDeployment(maxSurge=1, maxUnavailable="100%")
        )
    has_local = any(storage.kind is StorageKind.LOCAL for member in members for storage in member.storage)
    has_gpu = any(member.gpu_count for member in members)
    if (has_gpu or has_local) and replicas < 2:
        return DeploymentStrategy(type="Recreate")
    surge = 0 if has_gpu or has_local else 1
    update = RollingUpdateDeployment(maxSurge=surge, maxUnavailable=1 - surge)
    return DeploymentStrategy(type="RollingUpdate", rollingUpdate=update)
