"""Models and parts that instances of an engine have, compared with the needs of tasks; remembered for a while.

A seam for engines whose instances have models and parts of their own: the engine lists the needs of a task, and reads
what an instance has (`EngineKind.needs`, `EngineKind.look`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, cast

from corral.cluster.values import EngineSettings, Instance
from corral.engine_facts import EngineKind
from corral.engines.credentials import Credentials, name_credentials
from corral.engines.inputs import load_reference
from corral.engines.servers.directory import Directory
from corral.errors import Problem
from corral.work import EngineUnavailableError, Json

REMEMBERED_S = 30.0
"""How old what is known of an instance can be when a task is accepted; thousands of tasks a second are."""
RECENT_S = 2.0
"""How old it can be when a lack is reported: the model can have been installed just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A part that an instance must have, or a model file that a part of it loads."""

    type: str
    input: str | None = None
    file: str | None = None
    folder: str | None = None
    """The kind of model, the folder below an instance's models folder that it is loaded from; None where unknown."""
    where: str
    """The place in the task's inputs, for people."""


class Inventory(Protocol):
    """Models and parts of one instance."""

    def find_missing(self, needs: Sequence[Sequence[Need]]) -> tuple[tuple[Problem, ...], ...]:
        """List what the instance lacks of each list, as far as an answer needs it: `what` is a noun phrase.

        An empty list says that nothing is lacking.

        It can take seconds for the tasks of a large batch: it runs in a thread.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceReport:
    """One instance, and its lacks for each list of needs."""

    instance: Instance
    missing: tuple[tuple[Problem, ...], ...] = ()
    away: Problem | None = None
    """Why it could not be asked; `missing` is empty then."""
    url: str | None = None
    """Where it answers; None while its server does not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The knowledge of one instance."""

    instance: Instance
    inventory: Inventory | None
    """Its models and parts when it last answered; None where it never did."""
    away: Problem | None
    """Why it could not be asked now."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whom a look asked, and how: with other credentials or options the answer can be another one."""

    engine: str
    url: str | None
    """None while its server does not run."""
    token_from: str | None
    headers_from: frozenset[tuple[str, str]]
    options: frozenset[tuple[str, str | int | float | bool]]

    @classmethod
    def of(cls, kind: EngineKind, settings: EngineSettings, instance: Instance, url: str | None) -> Self:
        """Return how an instance of the cluster file is asked."""
        return cls(
            engine=kind.name,
            url=url,
            token_from=instance.token_from,
            headers_from=frozenset(instance.headers_from.items()),
            options=frozenset(settings.options.items()),
        )


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    url: str | None
    inventory: Inventory | None = None
    away: Problem | None = None


def list_needs(kind: EngineKind, inputs: Mapping[str, Json]) -> tuple[Need, ...]:
    """List what a task of this engine needs; nothing where instances of the engine are all alike."""
    if kind.needs is None:
        return ()
    return cast("Callable[[Mapping[str, Json]], tuple[Need, ...]]", load_reference(kind.needs))(
        inputs
    )  # the registry's


class Surveyor:
    """Remembers what each instance had when it was last asked; asks it once at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, directory: Directory | None = None) -> None:
        self._clock = clock
        self._directory = directory or Directory()
        self._looks: dict[_Asked, _Look] = {}
        self._turns: dict[_Asked, asyncio.Lock] = {}
        self._last: dict[tuple[str, str], Inventory] = {}
        """By engine and instance; kept while the instance is away."""

    async def list_known(self, kind: EngineKind, settings: EngineSettings, *, age_s: float) -> tuple[Known, ...]:
        """Return what each instance has, `age_s` seconds old at most, or had before it went away."""
        if kind.look is None:
            return ()
        self._forget_others(kind, settings)
        looks = await asyncio.gather(*(self._look(kind, settings, instance, age_s) for instance in settings.instances))
        return tuple(
            Known(instance=instance, inventory=self._last.get((kind.name, instance.name)), away=look.away)
            for instance, look in zip(settings.instances, looks, strict=True)
        )

    async def compare(
        self, kind: EngineKind, settings: EngineSettings, needs: Sequence[Sequence[Need]], *, age_s: float
    ) -> tuple[InstanceReport, ...]:
        """Compare every instance with every list of needs; what is known can be `age_s` seconds old."""
        if kind.look is None:
            return ()
        self._forget_others(kind, settings)
        looks = await asyncio.gather(*(self._look(kind, settings, instance, age_s) for instance in settings.instances))
        return await asyncio.to_thread(_report_all, settings.instances, looks, needs)

    async def _look(self, kind: EngineKind, settings: EngineSettings, instance: Instance, age_s: float) -> _Look:
        asked = _Asked.of(kind, settings, instance, self._directory.find_url(kind.name, instance))
        async with self._turns.setdefault(asked, asyncio.Lock()):
            known = self._looks.get(asked)
            if known is not None and self._clock() - known.at <= age_s:
                return known
            self._looks[asked] = look = await self._ask(kind, settings, instance)
            if look.inventory is not None:
                self._last[kind.name, instance.name] = look.inventory
            return look

    def _forget_others(self, kind: EngineKind, settings: EngineSettings) -> None:
        """Forget what was asked otherwise: the cluster file was read again since."""
        find_url = self._directory.find_url
        current = {
            _Asked.of(kind, settings, instance, find_url(kind.name, instance)) for instance in settings.instances
        }
        for asked in [asked for asked in self._turns if asked.engine == kind.name and asked not in current]:
            del self._turns[asked]
            self._looks.pop(asked, None)
        names = {instance.name for instance in settings.instances}
        for engine, name in [key for key in self._last if key[0] == kind.name and key[1] not in names]:
            del self._last[engine, name]

    async def _ask(self, kind: EngineKind, settings: EngineSettings, instance: Instance) -> _Look:
        ask = cast(
            "Callable[[str, Mapping[str, Any], Credentials], Coroutine[None, None, Inventory]]",
            load_reference(kind.look or ""),
        )  # the registry's own; Any: JSON
        url = self._directory.find_url(kind.name, instance)
        try:
            url = self._directory.require_url(kind.name, instance)
            inventory = await ask(url, settings.options, name_credentials(instance))
        except EngineUnavailableError as error:
            return _Look(self._clock(), url, away=error.problems[0])
        return _Look(self._clock(), url, inventory)


def _report_all(
    instances: Sequence[Instance], looks: Sequence[_Look], needs: Sequence[Sequence[Need]]
) -> tuple[InstanceReport, ...]:
    return tuple(
        InstanceReport(instance=instance, url=look.url, away=look.away)
        if look.inventory is None
        else InstanceReport(instance=instance, url=look.url, missing=look.inventory.find_missing(needs))
        for instance, look in zip(instances, looks, strict=True)
    )
