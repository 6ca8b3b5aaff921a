"""What runs: Deployments, StatefulSets and Jobs, such that an update never needs a GPU that nobody has.

A Deployment's update starts a pod before it stops one, which deadlocks where every card is taken (pitfall A02); GPU
workloads therefore stop first. What keeps state of its own (ComfyUI's queue and history, Ollama's models) is a
StatefulSet, so that each replica has an address that stays.
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
from lightkube.resources.core_v1 import ConfigMap, ServiceAccount
from lightkube.resources.policy_v1 import PodDisruptionBudget

from corral.cluster.values import QueueSettings, ServiceKind, StorageKind
from corral.rendering.filling import filling_of
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes import files, pods, volumes
from corral.rendering.kubernetes.containers import config_map_name, seconds_to_start, variables
from corral.rendering.kubernetes.naming import BATCH, labels_of, selector_of, workload_name
from corral.rendering.names import dns_name, with_suffix
from corral.rendering.programs import image_of, program_of

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
_PULLED_S = 1_800
"""How long images may take: 12 GB over 100 Mbit/s are 16 minutes. Only then does a rollout count as stuck."""
_LONGEST_JOB_S = 24 * 3600
_KEPT_AFTER_S = 7 * 24 * 3600


def groups(installation: Installation) -> list[tuple[Deployed, ...]]:
    """What is deployed, by pod: services that share one stand together; Jobs and services without an image do not."""
    pods_of: dict[str, list[Deployed]] = {}
    for one in installation.deployed:
        if not is_job(one) and image_of(one.service) is not None:
            pods_of.setdefault(f"pod {one.pod}" if one.pod else f"service {one.service.name}", []).append(one)
    return [tuple(members) for members in pods_of.values()]


def is_job(one: Deployed) -> bool:
    """Tell whether a service runs to its end instead of staying."""
    return one.service.kind is ServiceKind.JOB or "trainer" in one.service.engines


def is_stateful(members: Sequence[Deployed]) -> bool:
    """Tell whether each replica needs an address of its own."""
    return any(program_of(one.service).keeps_state for one in members)


def replicas_of(members: Sequence[Deployed]) -> int:
    """How many pods a workload has; 0 for services on demand, which are scaled up once they have their turn."""
    return 0 if all(service.on_demand for service in members) else max(service.replicas for service in members)


def workload(installation: Installation, members: Sequence[Deployed]) -> Deployment | StatefulSet:
    """The Deployment or StatefulSet of a pod. A service on demand is there with no replicas, to be scaled up."""
    first = members[0]
    name = workload_name(first)
    replicas = replicas_of(members)
    metadata = ObjectMeta(name=name, namespace=first.namespace, labels=labels_of(installation, name))
    selector = LabelSelector(matchLabels=selector_of(installation, name))
    template = pods.template(installation, members)
    if is_stateful(members):
        return StatefulSet(
            metadata=metadata,
            spec=StatefulSetSpec(
                serviceName=headless_name(members),
                replicas=replicas,
                podManagementPolicy=_order(installation, members),
                selector=selector,
                template=template,
            ),
        )
    return Deployment(
        metadata=metadata,
        spec=DeploymentSpec(
            replicas=replicas,
            progressDeadlineSeconds=_PULLED_S + max(seconds_to_start(one) for one in members),
            strategy=_strategy(members, replicas),
            selector=selector,
            template=template,
        ),
    )


def _order(installation: Installation, members: Sequence[Deployed]) -> str:
    """All at once; one after the other where each would pull the same models into the volume that they share."""
    fills = any(one.replicas > 1 and filling_of(installation, one) for one in members)
    return "OrderedReady" if fills else "Parallel"


def headless_name(members: Sequence[Deployed]) -> str:
    """The Service that gives each replica of a StatefulSet its address."""
    return with_suffix(workload_name(members[0]), "replicas")


def queue_of(installation: Installation, one: Deployed) -> str | None:
    """The queue of a Job: the first whose pool has cards where it runs, else the first that has any.

    None where no queue of Kueue would let it in: without cards there is none, and its node may have none either.
    """
    nodes = [node for node in installation.cluster.nodes if node.gpus]
    if not nodes or (one.node is not None and one.node not in {node.name for node in nodes}):
        return None
    queues = [queue for queue in installation.cluster.queues.values() if any(_reaches(queue, n.name) for n in nodes)]
    fitting = [queue.name for queue in queues if one.node is None or _reaches(queue, one.node)]
    return next(iter([*fitting, *(queue.name for queue in queues)]), None)


def _reaches(queue: QueueSettings, node: str) -> bool:
    return queue.pool is None or any(selector.partition("/")[0] == node for selector in queue.pool)


def job(installation: Installation, one: Deployed) -> Job:
    """A Job as a template: suspended, so that applying it starts nothing; Kueue starts it when its queue has room."""
    name = workload_name(one)
    spec = pods.pod_spec(installation, (one,), restart="Never")
    labels = labels_of(installation, name)
    queue = queue_of(installation, one)
    if queue is not None:
        labels |= {QUEUE_LABEL: dns_name(queue), PRIORITY_LABEL: BATCH}
    return Job(
        metadata=ObjectMeta(name=name, namespace=one.namespace, labels=labels),
        spec=JobSpec(
            suspend=True,
            backoffLimit=1,
            activeDeadlineSeconds=_LONGEST_JOB_S,
            ttlSecondsAfterFinished=_KEPT_AFTER_S,
            template=PodTemplateSpec(metadata=ObjectMeta(labels=labels_of(installation, name)), spec=spec),
        ),
    )


def config_maps(installation: Installation, members: Sequence[Deployed]) -> list[ConfigMap]:
    """The settings of each service of a pod, and its files."""
    settings = [
        ConfigMap(
            metadata=ObjectMeta(
                name=config_map_name(one),
                namespace=one.namespace,
                labels=labels_of(installation, config_map_name(one)),
            ),
            data=dict(sorted(variables(one).items())),
        )
        for one in members
        if variables(one)
    ]
    return [*settings, *files.config_maps(installation, members)]


def service_account(installation: Installation, one: Deployed) -> ServiceAccount:
    """An account without rights, so that no pod runs as `default`."""
    name = workload_name(one)
    return ServiceAccount(
        metadata=ObjectMeta(name=name, namespace=one.namespace, labels=labels_of(installation, name)),
        automountServiceAccountToken=False,
    )


def disruption_budget(installation: Installation, members: Sequence[Deployed]) -> PodDisruptionBudget | None:
    """One replica at a time may go, and one that does not run may always.

    There is none for a single replica, which would block every drain (pitfall A24); and none for replicas that cannot
    start anywhere else, bound to one node or to cards that are all taken: the first to go would hold back the rest.
    """
    first = members[0]
    is_bound = volumes.node_of(members) is not None or any(one.gpu_count for one in members)
    if is_bound or max(one.replicas for one in members) < 2:
        return None
    name = workload_name(first)
    return PodDisruptionBudget(
        metadata=ObjectMeta(name=name, namespace=first.namespace, labels=labels_of(installation, name)),
        spec=PodDisruptionBudgetSpec(
            maxUnavailable=1,
            unhealthyPodEvictionPolicy="AlwaysAllow",
            selector=LabelSelector(matchLabels=selector_of(installation, name)),
        ),
    )


def _strategy(members: Sequence[Deployed], replicas: int) -> DeploymentStrategy:
    has_local = any(storage.kind is StorageKind.LOCAL for one in members for storage in one.storage)
    has_gpu = any(one.gpu_count for one in members)
    if (has_gpu or has_local) and replicas < 2:
        return DeploymentStrategy(type="Recreate")
    surge = 0 if has_gpu or has_local else 1
    update = RollingUpdateDeployment(maxSurge=surge, maxUnavailable=1 - surge)
    return DeploymentStrategy(type="RollingUpdate", rollingUpdate=update)
