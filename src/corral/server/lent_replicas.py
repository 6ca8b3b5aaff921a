"""Replicas on a Kubernetes cluster that lend their GPUs to Jobs: emptied before a Job gets one, used again after it.

Kueue ends a replica and starts it again; what runs on it is the queue's own. Before a Job of the queue (engine `job`),
replicas are emptied first. For Jobs of others, a replica that Kueue ends has some time to finish (`lending.finish`),
which is ended here once nothing runs on it. Where tasks have waited too long (`lending.wait`), a replica that waits for
its GPU gets the higher priority, and Kueue gives it one back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from corral.errors import CorralError
from corral.server.cluster_instances import ClusterInstances
from corral.slots.registry import Registry
from corral.snapshot import Kind, ObjectKey
from corral.work import Json

if TYPE_CHECKING:  # loaded where there is a cluster
    from corral.kubernetes.api import Api

Subject = TypeVar("Subject")
_POD = Kind("", "Pod")
_LOOK_S = 0.5
"""Time between two looks at replicas that end or must be emptied: images take seconds."""
_BALANCE_S = 5.0
"""Time between two looks at tasks that wait for lent GPUs, whose bound is minutes."""
_END_S = 1
"""The time that a replica which is empty keeps; the kubelet gives each container 2 s at least."""
_QUIET = timedelta(seconds=60)
"""A replica that got its GPU back lends it again after so long without work: loading its models has a price."""

log = structlog.get_logger()


class LentReplicas:
    """Empties replicas (`corral.engines.lender.Lender`), and follows those that end or wait for their GPU."""

    def __init__(
        self,
        slots: Registry,
        instances: ClusterInstances,
        leads: Callable[[], bool],
        find_oldest: Callable[[str], datetime | None],
        find_bound: Callable[[], timedelta | None],
        *,
        kubeconfig: Path | None = None,
    ) -> None:
        """`find_oldest` finds since when the oldest task or guest waits for an engine; `find_bound` how long it can."""
        self._slots = slots
        self._instances = instances
        self._leads = leads
        self._find_oldest = find_oldest
        self._find_bound = find_bound
        self._kubeconfig = kubeconfig
        self._ended: set[tuple[str, str]] = set()
        self._without_since: dict[str, datetime] = {}
        """When the last replica of an engine went."""
        self._raised: dict[tuple[str, str], tuple[str, datetime]] = {}
        """Replicas that got their GPU back, with the engine and when they had work last."""

    # --- for engines -------------------------------------------------------------------------------------------------

    def is_busy(self, pod: str) -> bool:
        """Whether a task or a guest runs on a pod."""
        return any(place.holds and any(spec.instance == pod for spec in place.slots.values()) for place in self._slots)

    async def empty(self, pods: Collection[str]) -> None:
        """Close the slots of pods, and return once nothing runs there."""
        await self._instances.close(pods)
        looks = 0
        while looks < 2:  # a task that was just given to a slot holds it by the second look
            looks = 0 if any(map(self.is_busy, pods)) else looks + 1
            await asyncio.sleep(_LOOK_S)

    async def reopen(self, pods: Collection[str]) -> None:
        """Open the slots of pods again, of those that are still there."""
        await self._instances.reopen(pods)

    # --- what goes on by itself --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look after replicas, for ever; a server that does not lead knows nothing of what runs, and does nothing."""
        balanced_at = 0.0
        idle: frozenset[tuple[str, str]] = frozenset()
        while True:
            if self._leads():
                still_idle, idle = idle, self._list_idle()
                self._ended &= self._instances.leaving
                await self._try(self._end, (still_idle & idle) - self._ended)
                now = asyncio.get_running_loop().time()
                if now - balanced_at >= _BALANCE_S:
                    balanced_at = now
                    await self._try(self._balance, self._list_short(datetime.now(UTC)))
            await asyncio.sleep(_LOOK_S)

    def _list_idle(self) -> frozenset[tuple[str, str]]:
        """List the pods that end, were used here before, and have nothing to do any more."""
        leaving = self._instances.leaving
        return frozenset(key for key in leaving if self._instances.has_seen(key[1]) and not self.is_busy(key[1]))

    async def _end(self, api: Api, pods: Collection[tuple[str, str]]) -> None:
        """Take the rest of their time from replicas that Kueue ends."""
        from corral.rendering.kubernetes.objects import REPLICA  # see above

        for namespace, name in pods:
            key = ObjectKey(_POD, namespace, name)
            pod = await api.get(key)
            if pod is not None and REPLICA in pod["metadata"].get("labels", {}):
                await api.delete(key, grace_s=_END_S)
                log.info("lent_replica_ended", namespace=namespace, pod=name)
            self._ended.add((namespace, name))

    # --- GPUs that come back -----------------------------------------------------------------------------------------

    def _list_short(self, now: datetime) -> tuple[str, ...]:
        """List the engines whose tasks have waited longer than the bound while they have no replica.

        In addition those that got a GPU back, and need it no longer.
        """
        bound = self._find_bound()
        engines = {service.engine for service in self._instances.services}
        present = {engine for place in self._slots for engine in place.slots}
        self._without_since = {
            engine: self._without_since.get(engine, now) for engine in engines if engine not in present
        }
        short: list[str] = []
        for engine, since in self._without_since.items():
            oldest = self._find_oldest(engine)
            if bound is not None and oldest is not None and now - max(oldest, since) >= bound:
                short.append(engine)
        for key, (engine, _) in list(self._raised.items()):
            if self._find_oldest(engine) is not None or self.is_busy(key[1]):
                self._raised[key] = engine, now
        quiet = (engine for engine, worked_at in self._raised.values() if now - worked_at >= _QUIET)
        return tuple(dict.fromkeys((*short, *quiet)))

    async def _balance(self, api: Api, engines: Collection[str]) -> None:
        """Give replicas of engines whose tasks wait a GPU back, and lend GPUs of those again that have no work."""
        from corral.rendering.kubernetes.objects import INTERACTIVE, LENT  # see above

        now = datetime.now(UTC)
        for engine in engines:
            raised = [key for key, (raised_engine, _) in self._raised.items() if raised_engine == engine]
            if not raised:
                pod = await self._find_waiting(api, engine)
                if pod is not None:
                    await self._set_priority(api, pod, INTERACTIVE)
                    self._raised[pod] = engine, now
                    log.info("lent_gpu_taken_back", engine=engine, namespace=pod[0], pod=pod[1])
        for pod, (engine, worked_at) in list(self._raised.items()):
            is_gone = await api.get(ObjectKey(_POD, *pod)) is None
            if is_gone or now - worked_at >= _QUIET:
                del self._raised[pod]
            if not is_gone and now - worked_at >= _QUIET:
                await self._set_priority(api, pod, LENT)
                log.info("gpu_lent_again", engine=engine, namespace=pod[0], pod=pod[1])

    async def _find_waiting(self, api: Api, engine: str) -> tuple[str, str] | None:
        """Find a replica of an engine that waits for Kueue."""
        from corral.rendering.kubernetes.objects import REPLICA  # see above

        for service in self._instances.services:
            if service.engine != engine:
                continue
            for pod in await api.list(_POD, service.namespace, labels=REPLICA):
                metadata = pod["metadata"]
                is_own = metadata["labels"].get("app.kubernetes.io/name") in service.services
                if is_own and pod["spec"].get("schedulingGates") and "deletionTimestamp" not in metadata:
                    return metadata["namespace"], metadata["name"]
        return None

    async def _set_priority(self, api: Api, pod: tuple[str, str], priority: str) -> None:
        from corral.rendering.kubernetes.objects import PRIORITY_LABEL  # see above

        change: Json = {"metadata": {"labels": {PRIORITY_LABEL: priority}}}
        await api.patch(ObjectKey(_POD, *pod), change)

    async def _try(
        self, act: Callable[[Api, Collection[Subject]], Awaitable[None]], subjects: Collection[Subject]
    ) -> None:
        """Do something about subjects, if there are some; the next look tries again what the API server refused."""
        if not subjects:
            return
        from corral.kubernetes.api import open_api  # see above

        try:
            async with open_api(kubeconfig=self._kubeconfig) as api:
                await act(api, subjects)
        except CorralError as error:
            log.warning("lent_replicas_not_changed", what=error.what, hint=error.hint)
