"""The models that doors offer: the weights of the store, and what the servers of instances list."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import structlog

from corral.engine_kinds import CHATTERBOX, ENGINES, LLAMA
from corral.engines.chatterbox.files import holds_weights
from corral.errors import CorralError
from corral.gateway.catalogue import KnownModel
from corral.operations.hosted_models import InstanceModels, list_hosted_models
from corral.server.services import Services
from corral.weights.values import Model
from corral.work import HostedModel, SlotId

_log = structlog.get_logger()


class ModelsHere:
    """Asks the store and every instance; an engine without a slot now has no models of the store."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._hosted: dict[str, tuple[HostedModel, ...]] = {}
        """What instances listed last, by slot: one that sleeps, or does not answer now, still has its models."""

    async def list_models(self) -> Sequence[KnownModel]:
        """List them, of all instances at once."""
        services = self._services
        stored, hosted = await asyncio.gather(
            asyncio.to_thread(self._list_stored),
            list_hosted_models(services.cluster, services.directory, None),
        )
        self._hosted = {
            instance.slot: self._hosted.get(instance.slot, ()) if instance.problem else instance.models
            for instance in hosted.items
        }
        return (*stored, *(model for instance in hosted.items for model in self._list_hosted(instance)))

    def _list_stored(self) -> list[KnownModel]:
        engines = {slot.spec.engine for place in self._services.board.places for slot in place.slots}
        try:
            models = self._services.weights.list()
        except CorralError as error:
            _log.warning("stored_models_unknown", error=error.what)
            return []
        aliases = {entry.name: entry.aliases for entry in self._services.weights.catalogue}
        return [
            KnownModel(
                engine=engine,
                name=model.name,
                aliases=aliases.get(model.name, ()),
                facts=HostedModel(name=model.name, size=model.size, modified_at=model.pulled_at),
            )
            for model in models
            for engine in _list_engines(model)
            if engine in engines
        ]

    def _list_hosted(self, instance: InstanceModels) -> Iterator[KnownModel]:
        slots = frozenset({SlotId(instance.slot)})
        for model in self._hosted[instance.slot]:
            yield KnownModel(engine=instance.engine, name=model.name, slots=slots, facts=model)


def _list_engines(model: Model) -> tuple[str, ...]:
    """List the engines of this machine that load a stored model; where none is noted, its file shows the one."""
    noted = tuple(engine for engine in model.engines if engine in ENGINES and not ENGINES[engine].remote)
    if noted:
        return noted
    if holds_weights(model.path):
        return (CHATTERBOX.name,)
    return (LLAMA.name,) if model.path.suffix == ".gguf" else ()
