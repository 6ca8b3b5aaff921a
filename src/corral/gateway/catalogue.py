"""Models by name over all instances: what can be asked for, under which names, and what each engine calls it.

No request waits for a server: what was known last is good for a minute, and is asked for anew in the background. Only
a name that is unknown is looked for once more, since the model can have been installed just now.

`llama3.2` and `llama3.2:latest` are one model, as Ollama has it, and capitals do not matter where nothing else has the
name as it was written.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

from corral.cluster.gateway_values import CloudModel, GatewayModel
from corral.errors import CorralError, Kind, closest
from corral.slots.guests import Choice
from corral.work import HostedModel, SlotId

REFRESH_S = 15.0
"""How old a look can be before the next request lets all servers be asked anew, without waiting for it."""
STALE_S = 60.0
"""How old it can be before a list waits for the next one."""
RECENT_S = 2.0
"""How old a look can be when a name is reported as unknown."""
LOOK_S = 5.0
"""How long a request waits for a look, where it does."""
_LATEST = ":latest"


class ModelUnknownError(CorralError):
    """No instance has a model of that name."""

    code: ClassVar[str] = "model.unknown"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that an engine has, in one place or in several."""

    engine: str
    name: str
    """The engine's own word."""
    aliases: tuple[str, ...] = ()
    """Other names that the engine or the store takes for it."""
    slots: frozenset[SlotId] | None = None
    """Where it is; None where any slot of the engine can use it."""
    facts: HostedModel | None = None
    """The description by its server, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A model that can be asked for, and everything that can serve it."""

    name: str
    models: tuple[KnownModel, ...] = ()
    settings: GatewayModel | None = None
    """The words of the cluster file about it, if any."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The ways to serve it on the slots here."""
        return tuple(Choice(model.engine, model.name) for model in self.models)

    @property
    def fallback(self) -> tuple[CloudModel, ...]:
        """The providers elsewhere that can serve it when nothing here can."""
        return () if self.settings is None else self.settings.fallback

    @property
    def within_s(self) -> float | None:
        """How long a slot here is waited for where something elsewhere can serve; None for the cluster file's bound."""
        settings = self.settings
        return settings.fallback_after.total_seconds() if settings is not None and settings.fallback else None

    def keep(self, engines: frozenset[str]) -> Offer:
        """Return what of it these engines can serve."""
        if all(model.engine in engines for model in self.models):
            return self
        return replace(self, models=tuple(model for model in self.models if model.engine in engines))


class ModelSource(Protocol):
    """Where the catalogue learns which models there are."""

    async def list_models(self) -> Sequence[KnownModel]:
        """Ask the store and every server that runs, at once; one that does not answer has no models."""
        ...


@dataclass(frozen=True, slots=True)
class _Index:
    """Everything that is known at one time; replaced as a whole."""

    offers: Mapping[str, Offer] = field(default_factory=dict[str, Offer])
    """By the name that lists show."""
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """Every name that is understood, with the one that lists show."""


class Catalogue:
    """The models of all instances."""

    def __init__(
        self,
        source: ModelSource,
        *,
        named: Callable[[], Mapping[str, GatewayModel]] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`named` returns what the cluster file in effect says of models."""
        self._source = source
        self._named = named
        self._clock = clock
        self._known: tuple[KnownModel, ...] = ()
        self._read: Mapping[str, GatewayModel] = {}
        self._index = _Index()
        self._looked_at: float | None = None
        self._looking: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Return once something recent is known; within `LOOK_S` in any case."""
        if self._find_age() > STALE_S:
            await self._refresh_soon()

    async def close(self) -> None:
        """End a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def refresh(self) -> None:
        """Look at all servers; those that ask meanwhile wait for the same look."""
        await asyncio.shield(self._start_look())

    def list_offers(self) -> tuple[Offer, ...]:
        """List what can be asked for, by name; nothing is loaded and no server is asked."""
        return tuple(self._find_index().offers.values())

    def list_names(self) -> tuple[str, ...]:
        """List every name of every model, aliases of the cluster file included."""
        index = self._find_index()
        aliases = [alias for model in self._read.values() for alias in model.aliases]
        return tuple(sorted({*index.offers, *aliases}))

    def find_known(self, name: str) -> Offer | None:
        """Return the model of a name, as far as it is known now."""
        if self._find_age() > REFRESH_S:
            self._start_look()
        index = self._find_index()
        for spelling in (name, name.lower()):
            if (listed := index.names.get(spelling)) is not None:
                return index.offers[listed]
        return None

    async def find(self, name: str) -> Offer:
        """Return the model of a name. Raises: ModelUnknownError with names that are near."""
        offer = self.find_known(name)
        if offer is None and self._find_age() > RECENT_S:
            await self._refresh_soon()
            offer = self.find_known(name)
        if offer is None:
            raise self._make_unknown_error(name)
        return offer

    def forget(self, choice: Choice, slot: SlotId) -> None:
        """Forget that a slot has a model, until the next look: its server has just denied it."""
        self._known = tuple(_without(model, choice, slot) for model in self._known)
        self._known = tuple(model for model in self._known if model.slots is None or model.slots)
        self._index = _make_index(self._known, self._read)

    def _find_age(self) -> float:
        """Return the seconds since the last look; infinity before the first."""
        return math.inf if self._looked_at is None else self._clock() - self._looked_at

    def _start_look(self) -> asyncio.Task[None]:
        """Start a look, unless one is under way, and return it."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="models")
        return self._looking

    async def _refresh_soon(self) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self.refresh()
        except TimeoutError:
            pass  # what is known by now has to do

    async def _look(self) -> None:
        self._known = _merge(await self._source.list_models())
        self._looked_at = self._clock()
        self._index = _make_index(self._known, self._read)

    def _find_index(self) -> _Index:
        """Return the index, made anew when the cluster file was read again."""
        named = self._named()
        if named is not self._read:
            self._read = named
            self._index = _make_index(self._known, named)
        return self._index

    def _make_unknown_error(self, name: str) -> ModelUnknownError:
        names = self.list_names()
        if not names:
            hint = "no instance has a model now: start one, or pull a model with `corral models pull`"
            return ModelUnknownError(f"the model {name!r} does not exist", where="model", hint=hint)
        spellings = self._index.names
        near = tuple(dict.fromkeys(spellings[spelling] for spelling in find_near_names(name, spellings)))
        listed = ", ".join(f"`{known}`" for known in near or names[:12])
        hint = f"did you mean {listed}?" if near else f"use one of {listed}{', ...' if len(names) > 12 else ''}"
        return ModelUnknownError(f"the model {name!r} does not exist", where="model", hint=hint)


def find_near_names(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """Find at most six names that are probably meant: the closest one, and those that begin or go on alike."""
    known, wrong = tuple(names), name.lower()
    base = wrong.partition(":")[0]
    alike = [other for other in known if base and (other.lower().startswith(base) or base in other.lower())]
    nearest = closest(name, known)
    return tuple(dict.fromkeys(([nearest] if nearest else []) + alike))[:6]


def _without(model: KnownModel, choice: Choice, slot: SlotId) -> KnownModel:
    if (model.engine, model.name) != (choice.engine, choice.model) or model.slots is None:
        return model
    return replace(model, slots=model.slots - {slot})


def _merge(models: Iterable[KnownModel]) -> tuple[KnownModel, ...]:
    """Join what several instances of an engine say of one model."""
    merged: dict[tuple[str, str], KnownModel] = {}
    for model in models:
        key = (model.engine, model.name)
        other = merged.get(key)
        if other is None:
            merged[key] = model
            continue
        anywhere = other.slots is None or model.slots is None
        merged[key] = KnownModel(
            engine=model.engine,
            name=model.name,
            aliases=tuple(dict.fromkeys((*other.aliases, *model.aliases))),
            slots=None if anywhere else (other.slots or frozenset()) | (model.slots or frozenset()),
            facts=_choose_facts(other.facts, model.facts),
        )
    return tuple(merged.values())


def _choose_facts(*facts: HostedModel | None) -> HostedModel | None:
    """Return the facts of the instance that has it in memory, else the first."""
    said = [fact for fact in facts if fact is not None]
    return next((fact for fact in said if fact.loaded is not None), said[0] if said else None)


def _make_index(known: Sequence[KnownModel], named: Mapping[str, GatewayModel]) -> _Index:
    groups: dict[str, list[KnownModel]] = {}
    for model in known:
        groups.setdefault(_choose_listed(model, groups), []).append(model)
    names: dict[str, str] = {}
    for listed, models in groups.items():
        for spelling in (listed, *(alias for model in models for alias in (model.name, *model.aliases))):
            for form in _list_forms(spelling):
                names.setdefault(form, listed)
    offers = {listed: Offer(name=listed, models=tuple(models)) for listed, models in groups.items()}
    for name, model in named.items():
        listed = names.get(name) or names.get(name.lower()) or name
        had = offers.get(listed)
        offers[listed] = Offer(name=listed, models=had.models if had else (), settings=model)
        for spelling in (name, *model.aliases):
            names[spelling] = listed
            names.setdefault(spelling.lower(), listed)
    return _Index(offers={name: offers[name] for name in sorted(offers)}, names=names)


def _choose_listed(model: KnownModel, groups: Mapping[str, object]) -> str:
    """Return the name under which a model is listed: that of an engine before it where they mean the same."""
    return next((form for form in _list_forms(model.name) if form in groups), model.name)


def _list_forms(name: str) -> Iterable[str]:
    yield name
    yield name.removesuffix(_LATEST) if name.endswith(_LATEST) else f"{name}{_LATEST}"
    lower = name.lower()
    yield lower
    yield lower.removesuffix(_LATEST) if lower.endswith(_LATEST) else f"{lower}{_LATEST}"
