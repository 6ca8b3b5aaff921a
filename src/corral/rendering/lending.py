"""Services that lend their GPUs to Jobs: each replica is a workload of Kueue, with a lower priority than training.

Kueue counts a StatefulSet as one workload, so that a Job for one GPU would end all of its replicas. A lent service is a
Deployment for each replica instead.
"""

from __future__ import annotations

from corral.cluster.values import Cluster, Kubernetes, QueueSettings, Service, ServiceKind
from corral.engine_kinds import ENGINES, TRAINER


def lends(cluster: Cluster, service: Service) -> bool:
    """Return whether a service lends its GPUs: as the file says, else if the queue drives it and a Job wants some."""
    if service.lends is not None:
        return service.lends
    driven = any(engine in ENGINES and ENGINES[engine].remote for engine in service.engines)
    return driven and any(_borrows(other, service.node) for other in cluster.services.values())


def find_lending(cluster: Cluster) -> Kubernetes:
    """Find the settings of a cluster's Kubernetes, those of lending among them."""
    return cluster.kubernetes or Kubernetes()


def is_job_service(service: Service) -> bool:
    """Return whether a service runs to its end instead of staying."""
    return service.kind is ServiceKind.JOB or TRAINER.name in service.engines


def _borrows(service: Service, node: str | None) -> bool:
    """Return whether a service is a Job that wants GPUs, and can run on a node; None is any."""
    is_near = node is None or service.node in (None, node)
    return is_job_service(service) and is_near and bool(service.gpus or service.gpu_memory)


def find_queue(cluster: Cluster, node: str | None) -> str | None:
    """Find the queue of what wants GPUs on a node (None is any): the first whose pool has some there, else the first.

    None if no queue of Kueue would admit it: there are no queues without GPUs, and its node can have none either.
    """
    nodes = {known.name for known in cluster.kubernetes_nodes if known.gpus}
    if not nodes or (node is not None and node not in nodes):
        return None
    queues = [queue for queue in cluster.queues.values() if any(_reaches_node(queue, name) for name in nodes)]
    fitting = [queue.name for queue in queues if node is None or _reaches_node(queue, node)]
    return next(iter([*fitting, *(queue.name for queue in queues)]), None)


def _reaches_node(queue: QueueSettings, node: str) -> bool:
    return queue.pool is None or any(selector.partition("/")[0] == node for selector in queue.pool)
