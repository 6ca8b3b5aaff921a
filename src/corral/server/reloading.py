"""The cluster file that a running server follows: read again by `POST /corral/v1/reload` and by SIGHUP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from corral.cluster import Cluster
from corral.errors import CorralError
from corral.operations.reloading import LocalCluster, ReloadAnswer, ReloadAsked, reload_cluster
from corral.server.auth import LOCAL_OWNER
from corral.server.listeners import Listeners
from corral.server.slots_here import make_policy_bounds, make_queues, make_yields
from corral.slots.values import Difference, Wanted
from corral.tasks.dispatch_rules import DispatchRules, GuestRules
from corral.tasks.dispatcher import Dispatcher
from corral.tasks.store.audit import Act, Action
from corral.tasks.store.pool import CONNECTION_LOST

log = structlog.get_logger()


def make_rules(local: LocalCluster) -> DispatchRules:
    """Return what a cluster file says about dispatching."""
    return DispatchRules(
        queues=make_queues(local.cluster, local.wanted),
        bounds=make_policy_bounds(local.cluster),
        guests=_make_guest_rules(local.cluster),
        disk_reserve=local.cluster.server.disk_reserve,
        yields=make_yields(local.cluster),
    )


def _make_guest_rules(cluster: Cluster) -> GuestRules:
    after = cluster.preempt_after
    return GuestRules(
        wait_s=cluster.guest_wait.total_seconds(), preempt_after_s=None if after is None else after.total_seconds()
    )


class ClusterInEffect:
    """The cluster file in effect, and how another one takes its place; one at a time."""

    def __init__(
        self,
        cluster: Cluster,
        dispatcher: Dispatcher,
        read: Callable[[], LocalCluster],
        record: Callable[[Act], Awaitable[None]],
        listeners: Listeners,
    ) -> None:
        self.cluster = cluster
        self.at_start = cluster
        self._dispatcher = dispatcher
        self._read = read
        self._record = record
        self._listeners = listeners
        self._turn = asyncio.Lock()

    def compare_slots(self, wanted: Wanted) -> Difference:
        """Return how these slots differ from those there are."""
        return self._dispatcher.compare_slots(wanted)

    def put_into_effect(self, local: LocalCluster) -> None:
        """Put a cluster file into effect, all of it or, when an engine cannot be made or a port is in use, nothing."""
        rules = make_rules(local)
        with self._listeners.changing(local.cluster.gateway):
            self._dispatcher.change_slots(local.wanted)
        self._dispatcher.change_rules(rules)
        self.cluster = local.cluster

    async def reload(self, asked: ReloadAsked) -> ReloadAnswer:
        """Read the cluster file again. Raises: ClusterFileError, ProblemsError, SettingsError; nothing changes then."""
        async with self._turn:
            answer = await reload_cluster(self, self._read, asked)
        if not asked.dry_run:
            _log(answer)
        return answer

    async def follow_cluster(self) -> bool:
        """Put instances into effect that came or went on a Kubernetes cluster, and return whether that was possible.

        Problems of the file are logged: until they are solved, what was in effect stays.
        """
        try:
            await self.reload(ReloadAsked())
        except CorralError as error:
            for problem in error.problems:
                log.error("cluster_not_followed", what=problem.what, where=problem.where, hint=problem.hint)
            return False
        return True

    async def reload_on_signal(self) -> None:
        """Read the cluster file again, and log what is wrong with it; the audit log has who can send signals."""
        try:
            await self.reload(ReloadAsked())
        except CorralError as error:
            for problem in error.problems:
                log.error("cluster_file_not_reloaded", what=problem.what, where=problem.where, hint=problem.hint)
            return
        act = Act(owner=LOCAL_OWNER, origin=None, action=Action.CLUSTER_RELOADED, subject=self.cluster.name)
        try:
            await self._record(act)
        except CONNECTION_LOST as error:
            log.error("reload_not_in_audit_log", what=str(error) or type(error).__name__)


def _log(answer: ReloadAnswer) -> None:
    log.info(
        "cluster_file_reloaded",
        added=list(answer.added),
        changed=[edit.name for edit in answer.changed],
        removed=[edit.name for edit in answer.removed],
        settings=list(answer.settings),
    )
    for difference in answer.at_next_start:
        log.warning("takes_effect_at_next_start", what=difference)
    for problem in answer.problems:
        log.warning("machine_differs_from_cluster_file", what=problem.what, where=problem.where, hint=problem.hint)
