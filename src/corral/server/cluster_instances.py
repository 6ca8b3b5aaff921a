"""The engines of a server whose cluster file leaves their instances to a Kubernetes cluster: followed while it runs.

Pods that are ready are instances, at their own addresses; they come and go with EndpointSlices, and the active layout
with the state that `corral apply` keeps. What is known stays while the API server does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from corral.cluster.open_engines import list_open_engines
from corral.cluster.values import Cluster, Instance
from corral.engine_kinds import JOB
from corral.errors import CorralError
from corral.operations.cluster_file import ClusterText
from corral.snapshot import ObjectKey
from corral.work import Json

if TYPE_CHECKING:  # what follows a cluster is loaded where there is one: a server on one machine does without 25 MB
    from corral.deploying.engines import EngineService
    from corral.kubernetes.api import Api, Change

_STATE_S = 2.0
"""Time between two looks at the active layout and at a switch of layouts, which waits for it."""
_FILE_S = 10.0
"""Time between two looks at the cluster file and at the queues of Jobs."""
_SETTLE_S = 0.5
"""A Deployment changes several slices within this time; they are put into effect together."""
_SOON_S = 1.0
"""Time before the first try to reach an API server again: connections are cut when one of several restarts."""
_AGAIN_S = 15.0
"""Time between two tries after that."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The facts that the services to follow depend on."""

    layout: str | None
    closed: tuple[str, ...]
    """Services that a switch of layouts ends: their instances get nothing new."""
    file: ClusterText


@dataclass(frozen=True, slots=True, kw_only=True)
class _Followed:
    """What instances are made from, of one layout."""

    source: _Source
    services: tuple[EngineService, ...]
    nodes: tuple[str, ...]
    queues: tuple[Instance, ...]
    """The LocalQueues that are on the cluster."""


def add_instances(cluster: Cluster, instances: Mapping[str, tuple[Instance, ...]]) -> Cluster:
    """Return a cluster file with these instances of engines that name none themselves."""
    engines = {
        name: replace(settings, instances=instances[name]) if name in instances and not settings.instances else settings
        for name, settings in cluster.engines.items()
    }
    return replace(cluster, engines=engines)


class ClusterInstances:
    """Knows the instances that are on the cluster now, and calls `changed` when those in effect differ from them."""

    def __init__(
        self,
        in_effect: Callable[[], Cluster],
        read: Callable[[], ClusterText],
        changed: Callable[[], Awaitable[bool]],
        *,
        kubeconfig: Path | None = None,
    ) -> None:
        """`read` reads the cluster file as it is now; `changed` puts the instances into effect, and returns whether it
        could: if not, it is called again. `kubeconfig` is found as kubectl does unless it is given.
        """
        self._in_effect = in_effect
        self._read = read
        self._changed = changed
        self._kubeconfig = kubeconfig
        self._found: Mapping[str, tuple[Instance, ...]] = {}
        self._instances: Mapping[str, tuple[Instance, ...]] = {}
        self._are_in_effect = True
        self._closed: set[str] = set()
        self._seen: set[str] = set()
        self.leaving: frozenset[tuple[str, str]] = frozenset()
        """The pods that are ending: namespace and name."""
        self.services: tuple[EngineService, ...] = ()
        """The services of the layout that is followed."""

    def has_seen(self, pod: str) -> bool:
        """Whether a pod was an instance of this server."""
        return pod in self._seen

    async def close(self, pods: Iterable[str]) -> None:
        """Take pods for no instances: their slots leave once what runs there has ended."""
        self._closed |= set(pods)
        await self._put(self._found)

    async def reopen(self, pods: Iterable[str]) -> None:
        """Take pods for instances again, those that are still there."""
        self._closed -= set(pods)
        await self._put(self._found)

    def complete(self, cluster: Cluster) -> Cluster:
        """Return a cluster file with the instances that are known now."""
        return add_instances(cluster, self._instances)

    async def run(self) -> None:
        """Follow the cluster, for ever; a file without `kubernetes:`, or with instances of all engines, needs none."""
        reported: str | None = None
        while True:
            if self._in_effect().kubernetes is None:
                await asyncio.sleep(_AGAIN_S)
                continue
            from corral.kubernetes.api import open_api  # see above

            try:
                checked = await asyncio.to_thread(self._read)
                if not list_open_engines(checked.cluster):
                    await asyncio.sleep(_AGAIN_S)
                    continue
                async with open_api(kubeconfig=self._kubeconfig) as api:
                    source = await self._look(api, checked)
                    reported = None
                    await self._follow(api, await self._choose(api, source))
            except CorralError as error:
                pause_s = _SOON_S if reported is None else _AGAIN_S
                if error.what != reported:
                    log.warning("cluster_not_followed", what=error.what, hint=error.hint, again_in_s=pause_s)
                reported = error.what
                await asyncio.sleep(pause_s)

    async def _look(self, api: Api, checked: ClusterText) -> _Source:
        """Look at the state of the installation."""
        from corral.deploying.state import name_state, read_state  # see above
        from corral.deploying.switching import read_switch
        from corral.operations.deploying.applying import choose_layout
        from corral.rendering.installation import namespace_of

        key = name_state(namespace_of(checked.cluster))
        state = read_state(await api.get(key), checked.cluster.name, key.namespace)
        switch = read_switch(state)
        return _Source(
            layout=choose_layout(checked, state, None), closed=() if switch is None else switch.closed, file=checked
        )

    async def _choose(self, api: Api, source: _Source) -> _Followed:
        from corral.deploying.engines import leave_out, list_engine_services, list_queue_instances  # see above
        from corral.operations.placing import find_places
        from corral.rendering.installation import resolve_installations

        checked = source.file
        cluster = checked.cluster
        installations = await asyncio.to_thread(
            resolve_installations,
            cluster,
            source=checked.name,
            text=checked.text,
            layouts=() if source.layout is None else (source.layout,),
            find_places=find_places,
        )
        services = leave_out(list_engine_services(installations[0], list_open_engines(cluster)), source.closed)
        queues = list_queue_instances(installations[0])
        if JOB.name not in list_open_engines(cluster):
            queues = dict[ObjectKey, Instance]()
        present = [instance for key, instance in queues.items() if await _is_there(api, key)]
        nodes = tuple(node.name for node in cluster.nodes)
        return _Followed(source=source, services=services, nodes=nodes, queues=tuple(present))

    async def _follow(self, api: Api, followed: _Followed) -> None:
        """Follow the slices of a layout's services, until another layout is active or the file is another."""
        from corral.deploying.engines import ENDPOINT_SLICE, find_instances, find_leaving  # see above

        self.services = followed.services
        slices: dict[ObjectKey, Json] = {}
        changes: asyncio.Queue[tuple[str, Change]] = asyncio.Queue()
        namespaces = sorted({service.namespace for service in followed.services})
        listed: set[str] = set()
        queues = {JOB.name: followed.queues} if followed.queues else {}
        if not followed.services:
            await self._put(queues)

        async def watch(namespace: str) -> None:
            async for change in api.watch(ENDPOINT_SLICE, namespace):
                changes.put_nowait((namespace, change))

        checked, read_at = followed.source.file, asyncio.get_running_loop().time()
        watches = [asyncio.ensure_future(watch(namespace)) for namespace in namespaces]
        try:
            while True:
                now = asyncio.get_running_loop().time()
                is_due = now >= read_at + _FILE_S
                if is_due:
                    checked, read_at = await asyncio.to_thread(self._read), now
                    if not self._are_in_effect:
                        await self._put(self._found)
                source = await self._look(api, checked)
                if source != followed.source or (is_due and await self._choose(api, source) != followed):
                    return
                until = asyncio.get_running_loop().time() + _STATE_S
                while (left := until - asyncio.get_running_loop().time()) > 0:
                    for ended in (task for task in watches if task.done()):
                        ended.result()  # raises what ended it
                    is_changed = await _take(changes, slices, listed, left)
                    if is_changed and listed.issuperset(namespaces):
                        self.leaving = find_leaving(followed.services, slices.values())
                        by_engine = find_instances(followed.services, slices.values(), followed.nodes)
                        await self._put({**by_engine, **queues})
        finally:
            for task in watches:
                task.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    async def _put(self, by_engine: Mapping[str, tuple[Instance, ...]]) -> None:
        self._found = by_engine
        leaving = {name for _, name in self.leaving}
        self._seen = (self._seen & leaving) | {instance.name for listed in by_engine.values() for instance in listed}
        instances = {
            engine: tuple(instance for instance in listed if instance.name not in self._closed)
            for engine, listed in by_engine.items()
        }
        if instances != self._instances or not self._are_in_effect:
            self._instances, self._are_in_effect = instances, False
            self._are_in_effect = await self._changed()


async def _is_there(api: Api, key: ObjectKey) -> bool:
    from corral.kubernetes.errors import ForbiddenError, UnknownKindError  # see above

    try:
        return await api.get(key) is not None
    except (ForbiddenError, UnknownKindError):
        return False


async def _take(
    changes: asyncio.Queue[tuple[str, Change]], slices: dict[ObjectKey, Json], listed: set[str], within_s: float
) -> bool:
    """Take the changes that come within some time, and those right after them; whether there were any."""
    try:
        taken = [await asyncio.wait_for(changes.get(), min(within_s, 1.0))]
    except TimeoutError:
        return False
    await asyncio.sleep(_SETTLE_S)
    while not changes.empty():
        taken.append(changes.get_nowait())
    for namespace, change in taken:
        if change.type == "LISTING":
            listed.discard(namespace)
            for key in [key for key in slices if key.namespace == namespace]:
                del slices[key]
        elif change.type == "LISTED":
            listed.add(namespace)
        elif change.type == "DELETED":
            slices.pop(ObjectKey.read(change.value), None)
        else:
            slices[ObjectKey.read(change.value)] = change.value
    return True
