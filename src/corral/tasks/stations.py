"""What stands behind a slot while the server runs: its engines, whether they can work, what they hold in memory.

A station turns into the frozen `Slot` that the policy looks at. The dispatcher owns it; the checks that run beside the
loop only bring facts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from corral.errors import CorralError
from corral.scheduling.values import Gate, ResidentModel, RunningTask, Slot
from corral.units import Bytes
from corral.work import Engine, SlotId

log = structlog.get_logger()

CHECK_DEADLINE_S = 10.0
CHECK_TICK_S = 0.5
"""How often it is looked whether a check is due."""
CHECK_EVERY_S = 30.0
"""How often an engine that can work is asked whether it still can."""
RECHECK_AFTER_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits between checks of an engine that cannot work; the last one repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StationSetup:
    """What a station is built from."""

    slot: SlotId
    node: str
    device: str
    device_model: str
    capacity: Bytes | None
    visible_device: str | None
    """What `CUDA_VISIBLE_DEVICES` is for this slot; None on processors."""
    engines: Mapping[str, Engine]


@dataclass(slots=True)
class _Health:
    """Whether one engine can work here."""

    problem: str | None = "not checked yet"
    failures: int = 0
    check_due: float = 0.0


@dataclass(slots=True)
class Station:
    """One slot at run time."""

    setup: StationSetup
    running: RunningTask | None = None
    gate: Gate = Gate.OPEN
    held_elsewhere: str | None = None
    """Who else holds the slot according to the database: an attempt of a server that stopped or hangs."""
    resident: dict[str, tuple[ResidentModel, ...]] = field(default_factory=dict[str, tuple[ResidentModel, ...]])
    _health: dict[str, _Health] = field(default_factory=dict[str, _Health])

    def __post_init__(self) -> None:
        self._health = {name: _Health() for name in self.setup.engines}

    @property
    def id(self) -> SlotId:
        """The slot that this station stands behind."""
        return self.setup.slot

    @property
    def is_free(self) -> bool:
        """Whether a task may start here as far as the gate and the present work are concerned."""
        return self.running is None and self.gate is Gate.OPEN and self.held_elsewhere is None

    @property
    def is_drained(self) -> bool:
        """Whether it is to be emptied, its last task has ended, and models still take its memory."""
        return self.gate is Gate.DRAINING and self.running is None and any(self.resident.values())

    def slot(self) -> Slot:
        """Return the policy's view."""
        return Slot(
            id=self.setup.slot,
            node=self.setup.node,
            device=self.setup.device,
            device_model=self.setup.device_model,
            capacity=self.setup.capacity,
            engines=frozenset(name for name, health in self._health.items() if health.problem is None),
            engine_problems={name: health.problem for name, health in self._health.items() if health.problem},
            resident=tuple(model for models in self.resident.values() for model in models),
            running=self.running,
            gate=Gate.UNHEALTHY if self.held_elsewhere else self.gate,
            gate_reason=self.held_elsewhere or "",
        )

    def holds(self, engine: str, model: str | None) -> None:
        """Note that an engine has just used a model, until `refresh` asks what it really holds."""
        if model is not None and not any(held.model == model for held in self.resident.get(engine, ())):
            self.resident[engine] = (ResidentModel(engine=engine, model=model),)

    def failed(self, engine: str, problem: str, *, now: float) -> None:
        """Take an engine out of use until a check finds it able again; `now` is a monotonic clock in seconds."""
        health = self._health[engine]
        waits = RECHECK_AFTER_S[min(health.failures, len(RECHECK_AFTER_S) - 1)]
        self._health[engine] = _Health(problem=problem, failures=health.failures + 1, check_due=now + waits)
        self.resident.pop(engine, None)

    def works(self, engine: str, *, now: float) -> bool:
        """Note that an engine can work; return whether that is news."""
        news = self._health[engine].problem is not None
        self._health[engine] = _Health(problem=None, check_due=now + CHECK_EVERY_S)
        return news

    def due_checks(self, *, now: float) -> tuple[str, ...]:
        """Return the engines to check now; a busy station's engines answer by working."""
        if self.running is not None:
            return ()
        return tuple(name for name, health in self._health.items() if health.check_due <= now)

    async def check(self, engine: str, *, now: float) -> bool:
        """Ask an engine whether it can work and what it holds; return whether the policy's view changed."""
        before = self.slot()
        try:
            async with asyncio.timeout(CHECK_DEADLINE_S):
                await self.setup.engines[engine].check()
        except Exception as error:  # noqa: BLE001 (the bug of an engine takes that engine out of use, not the server)
            self.failed(engine, _problem(error), now=now)
            return self.slot() != before
        if self.works(engine, now=now):
            log.info("engine_works", slot=self.id, engine=engine)
        await self.refresh([engine])
        return self.slot() != before

    async def refresh(self, engines: Iterable[str]) -> None:
        """Ask engines what they hold in memory; one that does not answer keeps what was known."""
        for engine in engines:
            try:
                async with asyncio.timeout(CHECK_DEADLINE_S):
                    held = await self.setup.engines[engine].resident()
            except Exception as error:  # noqa: BLE001 (as in `check`)
                log.warning("residency_unknown", slot=self.id, engine=engine, error=str(error))
                continue
            self.resident[engine] = tuple(
                ResidentModel(engine=engine, model=model.model, memory=model.memory) for model in held
            )

    async def evict(self, engines: Iterable[str]) -> None:
        """Make engines give up the memory of their models; best effort, since the next load says what is wrong."""
        for engine in engines:
            try:
                async with asyncio.timeout(CHECK_DEADLINE_S):
                    await self.setup.engines[engine].release()
                self.resident.pop(engine, None)
            except Exception as error:  # noqa: BLE001 (as in `check`)
                log.warning("eviction_failed", slot=self.id, engine=engine, error=str(error))

    async def close(self) -> None:
        """Stop every engine; one that fails to stop keeps no other from it."""
        engines = self.setup.engines.values()
        for ended in await asyncio.gather(*(engine.close() for engine in engines), return_exceptions=True):
            if isinstance(ended, Exception):
                log.error("engine_not_closed", slot=self.id, exc_info=ended)


class Stations:
    """All stations of a server, by slot."""

    def __init__(self, setups: Iterable[StationSetup]) -> None:
        self._stations = {setup.slot: Station(setup) for setup in setups}

    def __getitem__(self, slot: SlotId) -> Station:
        return self._stations[slot]

    def __iter__(self) -> Iterator[Station]:
        return iter(self._stations.values())

    def __len__(self) -> int:
        return len(self._stations)

    def slots(self) -> tuple[Slot, ...]:
        """Return the policy's view of every station."""
        return tuple(station.slot() for station in self)

    def free(self) -> int:
        """Return how many stations may take a task now."""
        return sum(station.is_free for station in self)

    async def check(self, changed: Callable[[], None], monotonic: Callable[[], float]) -> None:
        """Ask engines, for ever, whether they can work, and call `changed` when that changes the policy's view.

        All are asked at start; those that fail, after growing waits; the others now and then.
        """
        while True:
            now = monotonic()
            async with asyncio.TaskGroup() as group:
                for station in self:
                    for engine in station.due_checks(now=now):
                        group.create_task(_check(station, engine, changed, now))
                    if station.is_drained:
                        group.create_task(_empty(station, changed))
            await asyncio.sleep(CHECK_TICK_S)

    async def close(self) -> None:
        """Stop every engine of every station."""
        async with asyncio.TaskGroup() as group:
            for station in self:
                group.create_task(station.close())


def _problem(error: Exception) -> str:
    if isinstance(error, CorralError):
        return f"{error.what} ({error.hint})" if error.hint else error.what
    if isinstance(error, TimeoutError):
        return f"no answer within {CHECK_DEADLINE_S:g} s"
    log.error("engine_check_raised", exc_info=error)
    return f"its check raised {type(error).__name__}: {error}"


async def _empty(station: Station, changed: Callable[[], None]) -> None:
    await station.evict(list(station.resident))
    changed()


async def _check(station: Station, engine: str, changed: Callable[[], None], now: float) -> None:
    if await station.check(engine, now=now):
        changed()
