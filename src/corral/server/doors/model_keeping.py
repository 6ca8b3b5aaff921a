"""Changes the models of instances for the Ollama door, as `corral models` does, and notes who did."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from corral.gateway.doors import Visitor
from corral.gateway.ollama.keeping import Host
from corral.gateway.ollama.listing import InMemory
from corral.operations.hosted_models import (
    HostedModelAsked,
    delete_hosted_model,
    list_model_hosts,
    pull_hosted_model,
    reach_model_host,
)
from corral.server.services import Services
from corral.tasks.store.audit import Act, Action, append_act
from corral.work import Endpoint, PullStep, SlotId


class ModelsKept:
    """Implements `corral.gateway.ollama.keeping.ModelKeeper`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def list_in_memory(self) -> Sequence[InMemory]:
        """List the models in memory, as slots were seen last."""
        places = self._services.board.places
        return [(model.engine, model.model) for place in places for model in place.facts.resident]

    def list_hosts(self, on: Sequence[str]) -> Sequence[Host]:
        """List the instances whose models can be changed. Raises: InstanceMissingError, ModelsFixedError."""
        return [Host(host.name, SlotId(host.slot)) for host in list_model_hosts(self._services.cluster, on)]

    async def pull(self, visitor: Visitor, model: str, on: Host, report: Callable[[PullStep], None]) -> None:
        """Let an instance fetch a model. Raises: EngineError."""
        services, asked = self._services, HostedModelAsked(on=on.slot, model=model)
        await pull_hosted_model(services.cluster, services.directory, asked, report)
        await self._note(visitor, Action.MODEL_PULLED, model, on)

    async def delete(self, visitor: Visitor, model: str, on: Host) -> None:
        """Delete a model from an instance. Raises: EngineError."""
        services, asked = self._services, HostedModelAsked(on=on.slot, model=model)
        await delete_hosted_model(services.cluster, services.directory, asked)
        await self._note(visitor, Action.MODEL_DELETED, model, on)

    @asynccontextmanager
    async def reach(self, on: Host, *, starts: bool) -> AsyncGenerator[Endpoint | None]:
        """Lend the server of an instance. Raises: EngineError."""
        services = self._services
        async with reach_model_host(services.cluster, services.directory, on.slot, starts=starts) as endpoint:
            yield endpoint

    async def note_made(self, visitor: Visitor, model: str, on: Host) -> None:
        """Note that a visitor made a model."""
        await self._note(visitor, Action.MODEL_MADE, model, on)

    async def _note(self, visitor: Visitor, action: Action, model: str, on: Host) -> None:
        by_key = {} if visitor.key in (None, visitor.owner) else {"by_key": visitor.key}
        details = {"instance": on.name, **by_key}
        act = Act(owner=visitor.owner, origin=None, action=action, subject=model, details=details)
        await append_act(self._services.pool, act)
        await self._services.refresh_models()
