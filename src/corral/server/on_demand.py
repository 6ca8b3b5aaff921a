"""Services on a Kubernetes cluster that run on demand: started by the first task or guest for them, stopped when idle.

They want a GPU that the layout gives to others, so they are deployed with no replicas and take their turn. Work is for
such a service where its engine has no other that runs all the time, or where the file gives its model to it and to none
of these. Its pod can wait for a GPU; tasks that wait for it say so, and guests too, which wait no longer than they can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from corral.errors import CorralError
from corral.server.cluster_instances import ClusterInstances
from corral.slots.registry import Registry

if TYPE_CHECKING:  # loaded where there is a cluster
    from corral.deploying.engines import EngineService

_LOOK_S = 2.0
"""Time between two looks at tasks that wait: the start of a pod takes several times as long."""
_AGAIN_S = 15.0
"""Time between two tries after the API server refused."""

log = structlog.get_logger()

Waiting = Mapping[str, Collection[str | None]]
"""The models of tasks and guests that can start, by engine."""


def find_wanted(services: Collection[EngineService], waiting: Waiting) -> frozenset[str]:
    """Find the services on demand that work waits for, by name."""
    steady = [service for service in services if not service.on_demand]
    return frozenset(
        service.name
        for service in services
        if service.on_demand and any(_is_for(service, model, steady) for model in waiting.get(service.engine, ()))
    )


def _is_for(service: EngineService, model: str | None, steady: Collection[EngineService]) -> bool:
    others = [other for other in steady if other.engine == service.engine]
    if service.models and model is not None and model not in service.models:
        return False
    return not others or (model in service.models and not any(model in other.models for other in others))


class OnDemandServices:
    """Scales services by what waits for them."""

    def __init__(
        self,
        slots: Registry,
        instances: ClusterInstances,
        leads: Callable[[], bool],
        list_waiting: Callable[[], Waiting],
        *,
        kubeconfig: Path | None = None,
    ) -> None:
        """`list_waiting` lists the models of what waits and could start, by engine."""
        self._slots = slots
        self._instances = instances
        self._leads = leads
        self._list_waiting = list_waiting
        self._kubeconfig = kubeconfig
        self._used_at: dict[str, datetime] = {}
        """Services that are started, and when they had work last."""
        self._problem: str | None = None
        """Why the API server did not scale a service at the last try."""

    def list_models(self) -> tuple[tuple[str, str], ...]:
        """List the engine and the name of each model that the file gives services on demand: they can be asked for."""
        services = (service for service in self._instances.services if service.on_demand)
        return tuple((service.engine, model) for service in services for model in sorted(service.models))

    def explain(self, engine: str, model: str | None) -> str | None:
        """Explain that work waits for the start of a service; None where it does not, or where another server leads."""
        wanted = find_wanted(self._instances.services, {engine: (model,)}) if self._leads() else frozenset[str]()
        absent = wanted - self._list_present()
        if not absent:
            return None
        subject = f"service {', '.join(sorted(absent))} runs on demand and"
        if absent <= self._used_at.keys():
            return f"{subject} was started for it: its pod waits for a GPU or starts"
        return f"{subject} is started for it" if self._problem is None else f"{subject} is not started: {self._problem}"

    async def run(self) -> None:
        """Look after services on demand, for ever; a server that does not lead scales none."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if not self._leads():
                self._used_at.clear()  # the one that leads scales them; this one learns anew when it leads
                continue
            try:
                await self._look(datetime.now(UTC))
                self._problem = None
            except CorralError as error:
                self._problem = error.what
                log.warning("service_not_scaled", what=error.what, hint=error.hint, again_in_s=_AGAIN_S)
                await asyncio.sleep(_AGAIN_S)

    async def _look(self, now: datetime) -> None:
        services = [service for service in self._instances.services if service.on_demand]
        wanted = find_wanted(self._instances.services, self._list_waiting())
        present, busy = self._list_present(), self._list_busy()
        for service in services:
            is_used = service.name in wanted or service.name in busy
            if is_used and service.name not in self._used_at:
                await self._scale(service, 1)
            if is_used or (service.name in present and service.name not in self._used_at):
                self._used_at[service.name] = now  # a pod that was there before this server led counts from now
            elif service.name in self._used_at and now - self._used_at[service.name] >= service.idle:
                await self._scale(service, 0)
                del self._used_at[service.name]

    def _list_present(self) -> frozenset[str]:
        return frozenset(name for name, _ in self._list_places())

    def _list_busy(self) -> frozenset[str]:
        return frozenset(name for name, is_busy in self._list_places() if is_busy)

    def _list_places(self) -> list[tuple[str, bool]]:
        """List the services whose pods are slots, and whether these hold something."""
        services = [service for service in self._instances.services if service.on_demand]
        return [
            (service.name, bool(place.holds))
            for place in self._slots
            for service in services
            if any(is_pod_of(service, spec.instance) for spec in place.slots.values())
        ]

    async def _scale(self, service: EngineService, replicas: int) -> None:
        """Scale the workloads of a service; nothing is changed where they have as many already."""
        from corral.kubernetes.api import open_api  # loaded where there is a cluster

        async with open_api(kubeconfig=self._kubeconfig) as api:
            for key in service.on_demand:
                await api.patch(key, {"spec": {"replicas": replicas}}, part="scale")
        log.info("service_started" if replicas else "idle_service_stopped", service=service.name)


def is_pod_of(service: EngineService, pod: str | None) -> bool:
    """Return whether a pod is one of a service's workloads, by the names that controllers give to pods."""
    return pod is not None and any(pod.startswith(f"{key.name}-") for key in service.on_demand)
