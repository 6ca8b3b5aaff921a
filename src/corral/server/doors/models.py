"""The models that doors offer: the weights of the store, and what the servers of instances list."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from corral.engine_kinds import CHATTERBOX, ENGINES, LLAMA
from corral.engines.chatterbox.files import holds_weights
from corral.engines.llama.inputs import LlamaOptions
from corral.errors import CorralError
from corral.gateway.catalogue import KnownModel
from corral.operations.hosted_models import InstanceModels, list_hosted_models
from corral.server.services import Services
from corral.units import format_count
from corral.weights.headers.abilities import Abilities, read_abilities
from corral.weights.values import Model
from corral.work import HostedModel, SlotId

_log = structlog.get_logger()


class ModelsHere:
    """Asks the store and every instance; an engine without a slot now has no models of the store."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._hosted: dict[str, tuple[HostedModel, ...]] = {}
        """Models that instances listed last, by slot: one that sleeps, or does not answer now, still has its models."""
        self._abilities: dict[tuple[Path, int], Abilities | None] = {}
        """Abilities by the headers of files, by path and time of change: one with a large vocabulary takes a second."""

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
        there = [*stored, *(model for instance in hosted.items for model in self._list_hosted(instance))]
        return (*there, *self._list_startable({(model.engine, model.name) for model in there}))

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
                facts=self._describe(engine, model),
            )
            for model in models
            for engine in _list_engines(model)
            if engine in engines
        ]

    def _list_startable(self, there: Collection[tuple[str, str]]) -> Iterator[KnownModel]:
        """List the models of services that sleep: to ask for one starts its service."""
        for engine, name in self._services.list_startable():
            if (engine, name) not in there:
                yield KnownModel(engine=engine, name=name)

    def _describe(self, engine: str, model: Model) -> HostedModel:
        """Describe a stored model as an engine here uses it."""
        facts = HostedModel(name=model.name, size=model.size, modified_at=model.pulled_at)
        abilities = self._read_abilities(model.path) if engine == LLAMA.name else None
        if abilities is None:
            return facts
        settings = self._services.cluster.engines.get(engine)
        given = LlamaOptions.model_validate(settings.options if settings else {}).context_size
        return replace(
            facts,
            parameters=None if abilities.parameters is None else format_count(abilities.parameters),
            quantization=abilities.quantization,
            family=abilities.architecture,
            context=min(given, abilities.context or given),
            capabilities=tuple(sorted(abilities.capabilities)),
        )

    def _read_abilities(self, path: Path) -> Abilities | None:
        try:
            key = (path, path.stat().st_mtime_ns)
        except OSError:
            return None
        if key not in self._abilities:
            self._abilities = {known: said for known, said in self._abilities.items() if known[0] != path}
            self._abilities[key] = read_abilities(path)
        return self._abilities[key]

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
