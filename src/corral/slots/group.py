"""The slots of a device that are occupied one at a time: their engines, whether they work, what holds them.

A group turns into the frozen `Slot` that the policy looks at. The dispatcher owns it; the checks that run next to the
loop only bring facts. What is wanted of a group (`aim`) comes true as far as it is not held, and the rest when its hold
ends (`settle`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import structlog

from corral.errors import CorralError, Kind
from corral.scheduling.values import Gate, ResidentModel, RunningTask, Slot
from corral.slots.values import DeviceSpec, GroupView, Hold, SlotSpec, SlotView
from corral.work import Engine, SlotId

log = structlog.get_logger()

CHECK_DEADLINE_S = 10.0
CHECK_EVERY_S = 30.0
"""How often an engine that works is checked again."""
RECHECK_AFTER_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits between checks of an engine that does not work; the last one repeats."""


class SlotHeldError(CorralError):
    """A slot is held, and was asked for by another."""

    code: ClassVar[str] = "slot.held"
    kind: ClassVar[Kind] = Kind.CONFLICT


@dataclass(slots=True, eq=False)
class Bay:
    """One slot at run time: its engine, whether that works, what it has in memory."""

    spec: SlotSpec
    engine: Engine
    problem: str | None = "not checked yet"
    failures: int = 0
    check_due: float = 0.0
    resident: tuple[ResidentModel, ...] = ()
    gate: Gate = Gate.OPEN


class Group:
    """Slots of one device of which one is occupied at a time; at most one per engine."""

    def __init__(self, id: SlotId, device: DeviceSpec) -> None:
        self.id = id
        self.device = device
        self.held_elsewhere: str | None = None
        """Who else holds the group according to the database: an attempt of a server that stopped or hangs."""
        self.held_by_leaving: str | None = None
        """Who holds a group that leaves and takes the same GPU or server, under another name."""
        self._bays: dict[str, Bay] = {}
        self._holds: list[Hold] = []
        self._retired: list[Engine] = []
        self._wanted_device = device
        self._wanted: dict[str, Bay] = {}

    # --- what is wanted ----------------------------------------------------------------------------------------------

    def prepare(self, slots: Iterable[SlotSpec]) -> list[Bay]:
        """Make the engines of slots that the group does not have yet; nothing of it changes, nothing is started."""
        known = (*self._bays.values(), *self._wanted.values())
        return [
            next((bay for bay in known if bay.spec == slot), None) or Bay(spec=slot, engine=slot.make())
            for slot in slots
        ]

    def aim(self, device: DeviceSpec, bays: Iterable[Bay]) -> None:
        """Set what this group should be; with nothing in it, it leaves."""
        wanted = {bay.spec.engine: bay for bay in bays}
        for engine, bay in self._wanted.items():  # one that was wanted before and has never come into use
            if bay is not wanted.get(engine) and bay is not self._bays.get(engine):
                self._retired.append(bay.engine)
        if device.provider == self.device.provider:  # by now its own models are in the memory that was measured
            device = replace(device, foreign=self.device.foreign)
        self._wanted_device, self._wanted = device, wanted
        self.settle()

    def settle(self) -> None:
        """Apply what is wanted, unless the group is held: then that waits for the end of its last hold."""
        if self._holds:
            return
        self.device = self._wanted_device
        self._retired += [bay.engine for name, bay in self._bays.items() if self._wanted.get(name) is not bay]
        self._bays = dict(self._wanted)

    @property
    def is_changing(self) -> bool:
        """Whether a change waits for the end of its hold."""
        return self.device != self._wanted_device or self._bays != self._wanted

    @property
    def is_gone(self) -> bool:
        """Whether nothing is left of it: no slot, no hold."""
        return not (self._bays or self._wanted or self._holds)

    def take_retired(self) -> list[Engine]:
        """Hand over the engines that are not part of the group any more, to be closed."""
        retired, self._retired = self._retired, []
        return retired

    # --- holds -------------------------------------------------------------------------------------------------------

    @property
    def holds(self) -> tuple[Hold, ...]:
        """What holds the group on this server."""
        return tuple(self._holds)

    @property
    def running(self) -> RunningTask | None:
        """The task that holds the group."""
        return next((hold.task for hold in self._holds if hold.task is not None), None)

    def hold(self, hold: Hold) -> None:
        """Take the group. Raises: SlotHeldError."""
        if self._holds:
            raise SlotHeldError(
                f"{self.id} is held by {self._holds[0]}", where=self.id, hint="wait until that has ended"
            )
        self._holds.append(hold)

    def release(self, hold: Hold) -> None:
        """End a hold, and make true what waited for that; a hold that has ended already is ignored."""
        if hold in self._holds:
            self._holds.remove(hold)
            self.settle()

    @property
    def is_free(self) -> bool:
        """Whether a task can start here as far as gates and holds are concerned."""
        is_open = any(bay.gate is Gate.OPEN for bay in self._bays.values())
        return is_open and not self._holds and self.held_elsewhere is None and self.held_by_leaving is None

    def list_drained(self) -> list[str]:
        """List the engines that take no more tasks, do not work, and still have models in memory."""
        if self._holds:
            return []
        return [name for name, bay in self._bays.items() if bay.gate is Gate.DRAINING and bay.resident]

    def set_gates(self, find_gate: Callable[[SlotSpec], Gate]) -> None:
        """Open and close its slots."""
        for bay in (*self._bays.values(), *self._wanted.values()):
            bay.gate = find_gate(bay.spec)

    # --- facts -------------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> Mapping[str, SlotSpec]:
        """Its slots, by engine."""
        return {engine: bay.spec for engine, bay in self._bays.items()}

    def name_for(self, engine: str) -> SlotId:
        """Return the name of an engine's slot; the group's own where another server's engine is not known here."""
        bay = self._bays.get(engine)
        return self.id if bay is None else bay.spec.id

    @property
    def occupies(self) -> frozenset[str]:
        """The servers, GPUs and processors that its slots take, whatever they are called."""
        return frozenset(bay.spec.occupies for bay in self._bays.values())

    @property
    def names(self) -> tuple[SlotId, ...]:
        """The names of its slots."""
        return tuple(bay.spec.id for bay in self._bays.values())

    def engine(self, name: str) -> Engine:
        """Return an engine of the group. Raises: KeyError."""
        return self._bays[name].engine

    def resident(self, engine: str) -> tuple[ResidentModel, ...]:
        """Return what an engine has in memory, as far as is known."""
        bay = self._bays.get(engine)
        return () if bay is None else bay.resident

    def view(self) -> Slot:
        """Return the policy's view."""
        gate, reason = self._judge_gate()
        bays = self._bays.items()
        return Slot(
            id=self.id,
            node=self.device.node,
            device=self.device.provider,
            device_model=self.device.model,
            capacity=self.device.capacity,
            engines=frozenset(name for name, bay in bays if bay.problem is None),
            engine_problems={name: bay.problem for name, bay in bays if bay.problem},
            resident=tuple(model for bay in self._bays.values() for model in bay.resident),
            running=self.running,
            gate=gate,
            gate_reason=reason,
            names={name: bay.spec.id for name, bay in bays},
            closed={name: bay.gate for name, bay in bays if bay.gate is not Gate.OPEN} if gate is Gate.OPEN else {},
        )

    def show(self) -> GroupView:
        """Return what people and programs see of the group."""
        place = self.view()
        return GroupView(
            device=self.device,
            place=place,
            slots=tuple(
                SlotView(spec=bay.spec, gate=place.gate_for(name), problem=bay.problem, resident=bay.resident)
                for name, bay in self._bays.items()
            ),
            holds=self.holds,
        )

    def _judge_gate(self) -> tuple[Gate, str]:
        if self.held_elsewhere is not None:
            return Gate.UNHEALTHY, self.held_elsewhere
        if self.held_by_leaving is not None:
            return Gate.UNHEALTHY, f"held under its old name by {self.held_by_leaving}"
        other = next((hold for hold in self._holds if hold.task is None), None)
        if other is not None:  # its memory is not the queue's to give up
            return Gate.UNHEALTHY, f"held by {other}"
        if self.is_changing:
            return Gate.DRAINING, f"it {'changes' if self._wanted else 'leaves'} when its hold ends"
        gates = {bay.gate for bay in self._bays.values()}
        if not gates or Gate.OPEN in gates:
            return Gate.OPEN, ""
        return (Gate.PAUSED if Gate.PAUSED in gates else Gate.DRAINING), ""

    def note_use(self, engine: str, model: str | None) -> None:
        """Note that an engine has just used a model, until `refresh` asks what it really holds."""
        bay = self._bays.get(engine)
        if bay is not None and model is not None and not any(held.model == model for held in bay.resident):
            bay.resident = (ResidentModel(engine=engine, model=model),)

    def note_failure(self, engine: str, problem: str, *, now: float) -> None:
        """Take an engine out of use until a check shows that it works; `now` is a monotonic clock in seconds."""
        bay = self._bays.get(engine)
        if bay is None:
            return
        bay.check_due = now + RECHECK_AFTER_S[min(bay.failures, len(RECHECK_AFTER_S) - 1)]
        bay.problem, bay.failures, bay.resident = problem, bay.failures + 1, ()

    # --- checks ------------------------------------------------------------------------------------------------------

    def list_due_checks(self, *, now: float) -> tuple[str, ...]:
        """Return the engines to check now; a held group's engines answer by working."""
        if self._holds or self._retired:
            return ()
        return tuple(name for name, bay in self._bays.items() if bay.check_due <= now)

    async def check(self, engine: str, *, now: float) -> bool:
        """Check whether an engine works and what it holds; return whether the policy's view changed."""
        before, bay = self.view(), self._bays[engine]
        try:
            async with asyncio.timeout(CHECK_DEADLINE_S):
                await bay.engine.check()
        except Exception as error:  # noqa: BLE001 (the bug of an engine takes that engine out of use, not the server)
            if self._bays.get(engine) is bay:
                self.note_failure(engine, _describe_error(error), now=now)
            return self.view() != before
        if bay.problem is not None:
            log.info("engine_works", slot=bay.spec.id)
        bay.problem, bay.failures, bay.check_due = None, 0, now + CHECK_EVERY_S
        await self.refresh([engine])
        return self.view() != before

    async def refresh(self, engines: Iterable[str]) -> None:
        """Ask engines what they hold in memory; of one that does not answer, what was known stays."""
        for bay in self._list_bays(engines):
            try:
                async with asyncio.timeout(CHECK_DEADLINE_S):
                    held = await bay.engine.resident()
            except Exception as error:  # noqa: BLE001 (as in `check`)
                log.warning("residency_unknown", slot=bay.spec.id, error=str(error))
                continue
            bay.resident = tuple(
                ResidentModel(engine=bay.spec.engine, model=model.model, memory=model.memory) for model in held
            )

    async def evict(self, engines: Iterable[str]) -> None:
        """Make engines give up the memory of their models; best effort: the next load shows a failure."""
        for bay in self._list_bays(engines):
            try:
                async with asyncio.timeout(CHECK_DEADLINE_S):
                    await bay.engine.release()
                bay.resident = ()
            except Exception as error:  # noqa: BLE001 (as in `check`)
                log.warning("eviction_failed", slot=bay.spec.id, error=str(error))

    async def close(self) -> None:
        """Stop every engine; one that fails to stop keeps no other from it."""
        await close_engines([*self.take_retired(), *(bay.engine for bay in self._bays.values())])

    def _list_bays(self, engines: Iterable[str]) -> list[Bay]:
        return [self._bays[engine] for engine in engines if engine in self._bays]


async def close_engines(engines: Sequence[Engine]) -> None:
    """Stop engines for good; one that fails to stop keeps no other from it."""
    endings = await asyncio.gather(*(engine.close() for engine in engines), return_exceptions=True)
    for engine, ending in zip(engines, endings, strict=True):
        if isinstance(ending, Exception):
            log.error("engine_not_closed", engine=engine.name, exc_info=ending)


def _describe_error(error: Exception) -> str:
    if isinstance(error, CorralError):
        return f"{error.what} ({error.hint})" if error.hint else error.what
    if isinstance(error, TimeoutError):
        return f"no answer within {CHECK_DEADLINE_S:g} s"
    log.error("engine_check_raised", exc_info=error)
    return f"its check raised {type(error).__name__}: {error}"
