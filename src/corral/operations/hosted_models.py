"""Models of servers elsewhere: what each instance has, and what is pulled, deleted, loaded and unloaded there.

An instance is named as in the cluster file (`ollama`) or by its slot (`pc/gpu0/ollama`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from corral.cluster.values import Cluster, Instance
from corral.engine_kinds import ENGINES
from corral.engines.building import build_remote
from corral.engines.credentials import name_credentials
from corral.engines.inputs import find_model_name
from corral.engines.servers.directory import Directory
from corral.errors import CorralError, Kind, did_you_mean
from corral.operations.models import DeletedModel
from corral.work import Endpoint, Engine, EngineError, HasEndpoint, HostedModel, ListsModels, ModelHost, PullStep


class InstanceMissingError(CorralError):
    """No instance of that name keeps models."""

    code: ClassVar[str] = "instance.missing"
    kind: ClassVar[Kind] = Kind.MISSING


class ModelsFixedError(CorralError):
    """The models of the instance cannot be changed by Corral."""

    code: ClassVar[str] = "instance.models_fixed"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceModels:
    """The models of one instance."""

    instance: str
    slot: str
    engine: str
    url: str | None
    """Where it answers; null while Corral does not run its server."""
    problem: str | None = None
    """Why its models are unknown."""
    models: tuple[HostedModel, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedModels:
    """The models of each instance, in the order of the cluster file."""

    items: tuple[InstanceModels, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedModelAsked:
    """A model on an instance."""

    on: str
    """The instance, or its slot: `ollama`, `pc/gpu0/ollama`."""
    model: str
    """As tasks name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadAsked(HostedModelAsked):
    """A model to load."""

    keep: str | None = None
    """How long it stays when nothing asks for it: `30m`, or seconds; negative for ever. Null: as after a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceModel:
    """One model as an instance has it now."""

    instance: str
    model: HostedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """An instance whose server keeps models, as the cluster file describes it."""

    engine: str
    instance: Instance
    slot: str
    make: Callable[[str], Engine] = field(repr=False)
    """Takes its URL."""


async def list_hosted_models(cluster: Cluster, directory: Directory, on: str | None) -> HostedModels:
    """List the models of one instance, or of all; each has its models or a problem. Raises: InstanceMissingError."""
    places = list(_list_places(cluster)) if on is None else [_find_place(cluster, on)]
    return HostedModels(items=tuple(await asyncio.gather(*(_list_on(place, directory) for place in places))))


async def pull_hosted_model(
    cluster: Cluster, directory: Directory, asked: HostedModelAsked, on_step: Callable[[PullStep], None]
) -> InstanceModel:
    """Let a server fetch a model. Raises: InstanceMissingError, EngineError."""
    async with _open(cluster, directory, asked.on) as (place, host):
        await host.pull_model(asked.model, on_step)
        return await _find_model(place, host, asked.model)


async def delete_hosted_model(cluster: Cluster, directory: Directory, asked: HostedModelAsked) -> DeletedModel:
    """Delete a model from a server. Raises: InstanceMissingError, EngineError."""
    async with _open(cluster, directory, asked.on) as (place, host):
        await host.delete_model(asked.model)
        return DeletedModel(instance=place.instance.name, model=asked.model)


async def load_hosted_model(cluster: Cluster, directory: Directory, asked: LoadAsked) -> InstanceModel:
    """Load a model on a server, and keep it there for a while. Raises: InstanceMissingError, EngineError."""
    async with _open(cluster, directory, asked.on) as (place, host):
        await host.load_model(asked.model, asked.keep)
        return await _find_model(place, host, asked.model)


async def unload_hosted_model(cluster: Cluster, directory: Directory, asked: HostedModelAsked) -> InstanceModel:
    """Unload a model from a server's memory. Raises: InstanceMissingError, EngineError."""
    async with _open(cluster, directory, asked.on) as (place, host):
        await host.unload_model(asked.model)
        return await _find_model(place, host, asked.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHostPlace:
    """An instance whose models are managed from here."""

    name: str
    slot: str


def list_model_hosts(cluster: Cluster, on: Sequence[str]) -> tuple[ModelHostPlace, ...]:
    """List the instances whose models are managed from here: those that are named, else all.

    Raises: InstanceMissingError, ModelsFixedError.
    """
    if on:
        places = [_require_host(_find_place(cluster, name)) for name in on]
    else:
        places = [place for place in _list_places(cluster) if ENGINES[place.engine].hosts_models]
    return tuple(ModelHostPlace(name=place.instance.name, slot=place.slot) for place in places)


@asynccontextmanager
async def reach_model_host(
    cluster: Cluster, directory: Directory, on: str, *, starts: bool
) -> AsyncGenerator[Endpoint | None]:
    """Lend the server of an instance for what loads nothing; None where it does not run and `starts` is false.

    Raises: InstanceMissingError, ModelsFixedError, EngineError.
    """
    place = _require_host(_find_place(cluster, on))
    if not starts and directory.find_url(place.engine, place.instance) is None:
        yield None
        return
    async with _open(cluster, directory, on) as (_, host):
        assert isinstance(host, HasEndpoint), "an engine that hosts models lends its server; a test holds that"
        async with host.reach(None, lambda _: None) as endpoint:
            yield endpoint


def _list_places(cluster: Cluster) -> Iterator[_Place]:
    enabled = [settings for name in ENGINES if (settings := cluster.engines.get(name)) is not None and settings.enabled]
    pairs = [(settings, instance) for settings in enabled for instance in settings.instances]
    slots = [f"{_name_device(instance)}/{settings.name}" for settings, instance in pairs]
    count = Counter(slots)
    for (settings, instance), slot in zip(pairs, slots, strict=True):
        if not ENGINES[settings.name].lists_models:
            continue
        yield _Place(
            engine=settings.name,
            instance=instance,
            slot=slot if count[slot] == 1 else f"{slot}/{instance.name}",
            make=lambda url, settings=settings, instance=instance: build_remote(
                settings.name,
                url=url,
                options=settings.options,
                credentials=name_credentials(instance),
            ),
        )


def _name_device(instance: Instance) -> str:
    if instance.node is None or instance.gpu is None:
        return instance.name
    return f"{instance.node}/gpu{instance.gpu}"


def _find_place(cluster: Cluster, name: str) -> _Place:
    places = list(_list_places(cluster))
    for place in places:
        if name in (place.instance.name, place.slot):
            return place
    names = [place.instance.name for place in places]
    none = "name servers under `engines.ollama.instances` in the cluster file"
    hint = did_you_mean(name, names, otherwise=f"use one of: {', '.join(names)}") if names else none
    raise InstanceMissingError(f"there is no instance {name!r} that keeps models", where="on", hint=hint)


def _require_host(place: _Place) -> _Place:
    """Return an instance whose models are managed from here. Raises: ModelsFixedError."""
    if not ENGINES[place.engine].hosts_models:
        what = f"{place.instance.name!r} is a server whose models are not managed from here"
        raise ModelsFixedError(what, where="on", hint="install and load models with the server's own means")
    return place


@asynccontextmanager
async def _open(cluster: Cluster, directory: Directory, on: str) -> AsyncGenerator[tuple[_Place, ModelHost]]:
    """Open an instance; its server is started where Corral runs it."""
    place = _require_host(_find_place(cluster, on))
    async with directory.reach(place.engine, place.instance) as url, _talk(place, url) as engine:
        assert isinstance(engine, ModelHost), "its kind says that it hosts models; a test holds that"
        yield place, engine


@asynccontextmanager
async def _talk(place: _Place, url: str) -> AsyncGenerator[Engine]:
    engine = place.make(url)
    try:
        yield engine
    finally:
        await engine.close()


async def _list_on(place: _Place, directory: Directory) -> InstanceModels:
    problem, models = None, ()
    url = directory.find_url(place.engine, place.instance)
    try:
        async with _talk(place, directory.require_url(place.engine, place.instance)) as engine:
            assert isinstance(engine, ListsModels), "its kind says that it lists models; the same test holds that"
            models = await engine.list_models()
    except EngineError as error:
        problem = f"{error.what} ({error.hint})" if error.hint else error.what
    return InstanceModels(
        instance=place.instance.name,
        slot=place.slot,
        engine=place.engine,
        url=url,
        problem=problem,
        models=models,
    )


async def _find_model(place: _Place, host: ModelHost, model: str) -> InstanceModel:
    """Find a model among those that the server lists; one that it does not list has only its name."""
    name = find_model_name(place.engine, model, {}) or model
    listed = {hosted.name: hosted for hosted in await host.list_models()}
    return InstanceModel(instance=place.instance.name, model=listed.get(name, HostedModel(name=name)))
