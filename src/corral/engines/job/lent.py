"""Empties the replicas whose GPUs a Job gets before Kueue looks at the Job.

The Job is made with a gate, under which Kueue only notes it. Replicas that are emptied get the lowest priority, so that
Kueue ends these and no others. What is not known here, or not allowed, leaves the choice to Kueue: its replicas then
have the time of `lending.finish`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import structlog

from corral.engines.cluster_seams import Lender
from corral.engines.job.borrowing import LentReplica, Wanted, choose_replicas, count_free, list_replicas
from corral.engines.job.manifest import GATED, Target
from corral.errors import CorralError
from corral.kubernetes.api import Api
from corral.kubernetes.errors import ForbiddenError, UnknownKindError
from corral.rendering.kubernetes.objects import BATCH, EMPTIED, LENT, PRIORITY_LABEL, REPLICA
from corral.rendering.kubernetes.volumes import HOSTNAME
from corral.snapshot import Kind, ObjectKey
from corral.work import Json

_POD = Kind("", "Pod")
_WORKLOAD = Kind("kueue.x-k8s.io", "Workload")
_LOCAL_QUEUE = Kind("kueue.x-k8s.io", "LocalQueue")
_CLUSTER_QUEUE = Kind("kueue.x-k8s.io", "ClusterQueue")
_NODE = Kind("", "Node")
_CLASS_LABEL = "/gpu-class"
"""The end of the label with the class of a node's GPUs, after the prefix of the file."""
_PRIORITY = Kind("kueue.x-k8s.io", "WorkloadPriorityClass")

_log = structlog.get_logger()


async def find_priority(api: Api, name: str | None) -> str | None:
    """Find the priority of Jobs: the one that is named, else that of rendered queues where the cluster has it."""
    return name or (BATCH if await _has_priority(api, BATCH) else None)


async def select_node(api: Api, name: str | None) -> Mapping[str, str]:
    """Find the labels that select a node: its name, and the class of its GPUs where it has one; empty for any node.

    Kueue compares a Job with the labels of flavours, which are those of a class or of a node, and with nothing else.
    """
    if name is None:
        return {}
    try:
        node = await api.get(ObjectKey(_NODE, "", name))
    except ForbiddenError:
        node = None
    labels: Mapping[str, str] = {} if node is None else node["metadata"]["labels"]
    return {HOSTNAME: name} | {key: value for key, value in labels.items() if key.endswith(_CLASS_LABEL)}


class Lent:
    """The replicas that one Job gets."""

    def __init__(self, api: Api, lender: Lender, target: Target) -> None:
        self._api = api
        self._lender = lender
        self._target = target
        self._pods: tuple[str, ...] = ()

    async def empty(self, wanted: Wanted, report: Callable[[str], None]) -> None:
        """Choose replicas and empty them; none where enough GPUs are free. Raises: UnreachableError."""
        try:
            replicas = await self._choose(wanted)
        except (ForbiddenError, UnknownKindError) as error:
            _log.warning("replicas_not_emptied", what=error.what, hint=error.hint)
            return
        if not replicas:
            return
        self._pods = tuple(replica.pod for replica in replicas)
        report(f"waits until {', '.join(self._pods)} {'has' if len(replicas) == 1 else 'have'} done what runs there")
        await self._lender.empty(self._pods)
        if await _has_priority(self._api, EMPTIED):
            for pod in self._pods:
                await self._set_priority(pod, EMPTIED)

    async def give_back(self) -> None:
        """Use the replicas again that Kueue has left. Raises: UnreachableError."""
        pods, self._pods = self._pods, ()
        if not pods:
            return
        await self._lender.reopen(pods)
        for name in pods:
            pod = await self._api.get(ObjectKey(_POD, self._target.namespace, name))
            if pod is not None and pod["metadata"].get("labels", {}).get(PRIORITY_LABEL) == EMPTIED:
                await self._set_priority(name, LENT)

    async def _choose(self, wanted: Wanted) -> tuple[LentReplica, ...]:
        namespace = self._target.namespace
        queue = await self._api.get(ObjectKey(_LOCAL_QUEUE, namespace, self._target.queue))
        name = "" if queue is None else queue["spec"]["clusterQueue"]
        pool = await self._api.get(ObjectKey(_CLUSTER_QUEUE, "", name)) if name else None
        if pool is None:
            return ()
        pods = await self._api.list(_POD, namespace, labels=REPLICA)
        workloads = await self._api.list(_WORKLOAD, namespace)
        replicas = list_replicas(pods, workloads, name, wanted.resource, self._lender.is_busy)
        return choose_replicas(replicas, count_free(pool, wanted.resource), wanted) or ()

    async def _set_priority(self, pod: str, priority: str) -> None:
        change: Json = {"metadata": {"labels": {PRIORITY_LABEL: priority}}}
        await self._api.patch(ObjectKey(_POD, self._target.namespace, pod), change)


@asynccontextmanager
async def lend_replicas(api: Api, lender: Lender | None, target: Target) -> AsyncGenerator[Lent | None]:
    """Lend replicas to a Job; those that Kueue did not take are used again after. None without a lender."""
    if lender is None:
        yield None
        return
    lent = Lent(api, lender, target)
    try:
        yield lent
    finally:
        try:
            await lent.give_back()
        except CorralError as error:
            _log.warning("replicas_not_reopened", what=error.what, hint=error.hint)


def is_gated(job: Json) -> bool:
    """Return whether Kueue does not look at a Job yet."""
    annotations: Json = job["metadata"].get("annotations")
    return annotations is not None and GATED in annotations


async def open_gate(api: Api, job: ObjectKey) -> None:
    """Let Kueue look at a Job. Raises: UnreachableError."""
    await api.patch(job, {"metadata": {"annotations": {GATED: None}}})


async def _has_priority(api: Api, name: str) -> bool:
    try:
        return await api.get(ObjectKey(_PRIORITY, "", name)) is not None
    except (ForbiddenError, UnknownKindError):
        return False
