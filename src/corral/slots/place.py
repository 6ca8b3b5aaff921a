"""A place at run time: the slots of a device that exclude each other, whether they work, and what holds them.

It turns into the frozen `Place` that the policy looks at. The dispatcher owns it; the checks that run next to the
loop only bring facts. What is wanted of a place (`set_wanted`) comes true as far as it is not held, and the rest when
its hold ends (`settle`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from uuid import UUID

import structlog

from corral.errors import CorralError
from corral.scheduling.values import Gate, Place, ResidentModel, RunningTask
from corral.slots.closing import close_engines, end_engines
from corral.slots.device_use import DeviceUse, describe_programs, is_step
from corral.slots.holds import Holds
from corral.slots.slot_state import CHECK_DEADLINE_S, NOT_CHECKED, SlotState
from corral.slots.values import (
    DeviceSpec,
    Hold,
    PendingChange,
    PlaceView,
    SlotSpec,
    SlotView,
    WaitsForTurn,
    Wanted,
    compare,
)
from corral.slots.yielding import Yielding
from corral.units import Bytes
from corral.work import (
    Engine,
    KeepsJobs,
    LendsDevices,
    SlotId,
    StartsServer,
)

log = structlog.get_logger()

CHECK_EVERY_S = 30.0
"""How often an engine that works is checked again."""
RELEASE_DEADLINE_S = 30.0
"""How long an engine can take to give its memory up: some stop a server for it."""
RECHECK_AFTER_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits between checks of an engine that does not work; the last one repeats."""


class PlaceState:
    """One place at run time; at most one slot per engine."""

    def __init__(self, id: SlotId, device: DeviceSpec) -> None:
        self.id = id
        self.device = device
        self.held_elsewhere: str | None = None
        """Who else holds the place according to the database: an attempt of a server that stopped or hangs."""
        self.trouble: str | None = None
        """Why this server starts nothing on any place now: its disk is full, say."""
        self.is_outside_hours = False
        """Whether the hours of its device are over; its engines then give up their models as where it is drained."""
        self.held_by_leaving: str | None = None
        """Who holds a place that leaves and takes the same GPU or server, under another name."""
        self.device_problem: str | None = None
        """Why its device cannot be used now: it is lost, or the machine slept and its engines start anew."""
        self._is_resumed = False
        self.yielding: Yielding | None = None
        """The programs outside of Corral that have its device now."""
        self.use: DeviceUse | None = None
        """The newest look at its device; None where there was none."""
        self._excess = 0
        self._to_empty = False
        self._to_restart = False
        self._states: dict[str, SlotState] = {}
        self.lanes = Holds(id, self.count_lanes)
        """What holds it, or lanes of it."""
        self._retired: list[Engine] = []
        self._wanted_device = device
        self._wanted: dict[str, SlotState] = {}

    # --- what is wanted ----------------------------------------------------------------------------------------------

    def prepare(self, slots: Iterable[SlotSpec]) -> list[SlotState]:
        """Make the engines of slots that the place does not have yet; nothing of it changes, nothing is started."""
        known = (*self._states.values(), *self._wanted.values())
        return [
            next((state for state in known if state.spec == slot), None) or SlotState(spec=slot, engine=slot.make())
            for slot in slots
        ]

    def set_wanted(self, device: DeviceSpec, states: Iterable[SlotState]) -> None:
        """Set what this place should be; with nothing in it, it leaves."""
        wanted = {state.spec.engine: state for state in states}
        for engine, state in self._wanted.items():  # one that was wanted before and has never come into use
            if state is not wanted.get(engine) and state is not self._states.get(engine):
                self._retired.append(state.engine)
        if device.provider == self.device.provider:  # by now its own models are in the memory that was measured
            device = replace(device, foreign=self.device.foreign)
        self._wanted_device, self._wanted = device, wanted
        self.device = replace(self.device, hours=device.hours)  # they bind what runs, too
        self.settle()

    def settle(self) -> None:
        """Apply what is wanted, unless the place is held: then that waits for the end of its last hold."""
        if self.lanes or not self.is_changing:
            return
        self.device = self._wanted_device
        self._retired += [state.engine for name, state in self._states.items() if self._wanted.get(name) is not state]
        self._states = dict(self._wanted)

    @property
    def is_changing(self) -> bool:
        """Whether a change waits for the end of its hold."""
        is_other = self.device is not self._wanted_device and self.device != self._wanted_device
        return is_other or self._states != self._wanted

    def list_pending(self, wanted: Wanted) -> Iterator[PendingChange]:
        """List how the place, while it is held, still differs from what is wanted of it."""
        if not self.lanes:
            return
        hold = str(self.holds[0])
        present = Wanted(devices=(self.device,), slots=tuple(state.spec for state in self._states.values()))
        difference = compare(present, wanted)
        for change in difference.changed:
            yield PendingChange(name=change.before.id, what=change.what, hold=hold)
        for slot in difference.removed:
            yield PendingChange(name=slot.id, what=(), hold=hold)
        for edit in difference.devices:
            yield PendingChange(name=edit.before.name, what=edit.what, hold=hold)

    @property
    def is_gone(self) -> bool:
        """Whether nothing is left of it: no slot, no hold."""
        return not (self._states or self._wanted or self.lanes)

    def take_retired(self) -> list[Engine]:
        """Hand over the engines that are not part of the place any more, to be closed."""
        retired, self._retired = self._retired, []
        return retired

    # --- holds -------------------------------------------------------------------------------------------------------

    @property
    def holds(self) -> tuple[Hold, ...]:
        """What holds the place on this server."""
        return tuple(self.lanes)

    @property
    def running(self) -> tuple[RunningTask, ...]:
        """The tasks that hold lanes of the place."""
        return self.lanes.running

    def hold(self, hold: Hold) -> None:
        """Take the place, or a lane of it next to tasks of the same engine and model. Raises: SlotHeldError."""
        self.lanes.add(hold)

    def release(self, hold: Hold) -> None:
        """End a hold, and make true what waited for the last one; a hold that has ended already is ignored."""
        if self.lanes.remove(hold):
            self.settle()

    def find_processor(self, engine: str) -> str | None:
        """Find the name of what others can compute on next to a task of an engine; None where it computes by itself."""
        return self.device.processor or (self.id if self.count_lanes(engine) > 1 else None)

    def count_lanes(self, engine: str) -> int:
        """Return how many tasks of one model an engine does at a time here."""
        state = self._states.get(engine)
        return 1 if state is None else state.lanes

    @property
    def is_free(self) -> bool:
        """Whether a task can start here as far as gates and holds are concerned."""
        is_open = any(state.gate is Gate.OPEN for state in self._states.values())
        reasons = (self.trouble, self.device_problem, self.held_elsewhere, self.held_by_leaving, self.yielding)
        has_room = not self.lanes or self.lanes.leave_a_lane
        return is_open and has_room and not self._to_restart and not any(reasons)

    def list_drained(self) -> list[str]:
        """List the engines that take no more tasks, do not work, and still have models in memory."""
        if self.lanes:
            return []
        if self.yielding is not None:
            return [name for name, state in self._states.items() if self._to_empty or state.resident]
        drained = {name for name, state in self._states.items() if state.gate is Gate.DRAINING or self.is_outside_hours}
        return [name for name, state in self._states.items() if name in drained and state.resident]

    def set_gates(self, find_gate: Callable[[SlotSpec], Gate]) -> None:
        """Open and close its slots."""
        for state in (*self._states.values(), *self._wanted.values()):
            before, state.gate = state.gate, find_gate(state.spec)
            self._is_resumed = self._is_resumed or before is not state.gate is Gate.OPEN
            if before is not state.gate is Gate.OPEN and isinstance(state.engine, StartsServer):
                state.engine.forgive()  # it was opened by hand
                state.check_due = 0.0

    # --- its device ---------------------------------------------------------------------------------------------------

    def note_look(self, use: DeviceUse, foreign: Bytes | None, excess: int) -> bool:
        """Note a look at the device, what others hold of it, and what Corral holds beyond what places account for.

        Return whether that matters to the policy.
        """
        self.use = use
        if not is_step(self.device.foreign, foreign, use.total) and not is_step(self._excess, excess, use.total):
            return False
        self._excess = excess
        self.device = replace(self.device, foreign=foreign)
        self._wanted_device = replace(self._wanted_device, foreign=foreign)
        return True

    def yield_to(self, yielding: Yielding | None) -> bool:
        """Give the device to others, or take it back; return whether that changes what is seen of the place.

        What its engines hold is given up once nothing holds the place.
        """
        before, self.yielding = self.yielding, yielding
        self._to_empty = yielding is not None and (self._to_empty or before is None)
        return (before and before.to) != (yielding and yielding.to)

    def join(self, neighbour: PlaceState) -> None:
        """Take over the state of the device from a place that is on it already."""
        self.use, self.device_problem, self.yielding = neighbour.use, neighbour.device_problem, neighbour.yielding

    def take_resumed(self) -> bool:
        """Return whether a slot was opened by hand since the last call."""
        is_resumed, self._is_resumed = self._is_resumed, False
        return is_resumed

    def close_for(self, problem: str | None) -> None:
        """Close the place for a problem of its device; None opens it, and its engines start anew."""
        self._to_restart = self._to_restart or problem is not None
        self.device_problem = problem
        if problem is None:
            for state in self._states.values():
                state.problem, state.check_due = NOT_CHECKED, 0.0

    async def restart_engines(self) -> None:
        """End the engines of this machine, whose work on a device that was away is lost; the next run starts them."""
        states = list(self._states.values())
        await end_engines([state.engine for state in states if state.spec.port is None])
        self._to_restart = False  # only now: nothing could start meanwhile
        for state in states:
            state.resident, state.computes_on, state.caution = (), None, None

    @property
    def is_lent(self) -> bool:
        """Whether a program outside of Corral has a turn here, whose processes are not known."""
        states = (self._states.get(running.engine) for running in self.running)
        return any(state is not None and isinstance(state.engine, LendsDevices) for state in states)

    @property
    def must_restart(self) -> bool:
        """Whether its engines must be ended now: its device was away, and nothing holds it."""
        return self._to_restart and not self.lanes

    def count_reported(self, located: frozenset[int]) -> tuple[int, int]:
        """Count the bytes that engines report to hold: those of instances without a located process, and all."""
        sizes = [(state.spec, sum(model.memory or 0 for model in state.resident)) for state in self._states.values()]
        hidden = sum(size for spec, size in sizes if spec.port is not None and spec.port not in located)
        return hidden, sum(size for _, size in sizes)

    # --- facts -------------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> Mapping[str, SlotSpec]:
        """Its slots, by engine."""
        return {engine: state.spec for engine, state in self._states.items()}

    def name_for(self, engine: str) -> SlotId:
        """Return the name of an engine's slot; the place's own where another server's engine is not known here."""
        state = self._states.get(engine)
        return self.id if state is None else state.spec.id

    @property
    def occupies(self) -> frozenset[str]:
        """The servers, GPUs and processors that its slots take, whatever they are called."""
        return frozenset(state.spec.occupies for state in self._states.values())

    @property
    def names(self) -> tuple[SlotId, ...]:
        """The names of its slots."""
        return tuple(state.spec.id for state in self._states.values())

    def engine(self, name: str) -> Engine:
        """Return an engine of the place. Raises: KeyError."""
        return self._states[name].engine

    def resident(self, engine: str) -> tuple[ResidentModel, ...]:
        """Return what an engine has in memory, as far as is known."""
        state = self._states.get(engine)
        return () if state is None else state.resident

    def is_unchecked(self, engine: str) -> bool:
        """Whether an engine's first check is still to come, and nothing keeps it from being made."""
        state = self._states.get(engine)
        return state is not None and state.problem == NOT_CHECKED and not self.lanes

    def abandon(self, slot: SlotId, attempt: UUID, task: int) -> None:
        """Let the engine of a slot end the job of a lost attempt, and check it soon."""
        for state in self._states.values():
            if state.spec.id == slot and isinstance(state.engine, KeepsJobs):
                state.engine.abandon(attempt, task)
                state.check_due = 0.0

    def to_place(self) -> Place:
        """Return the policy's view."""
        gate, reason = self._judge_gate()
        states = self._states.items()
        return Place(
            id=self.id,
            node=self.device.node,
            device=self.device.provider,
            processor=self.device.processor,
            device_model=self.device.model,
            capacity=self.device.capacity,
            excess=self._excess,
            others=describe_programs(self.use.programs) if self.use is not None and self.device.foreign else "",
            engines=frozenset(name for name, state in states if state.problem is None),
            engine_problems={name: state.problem for name, state in states if state.problem},
            models={name: state.models for name, state in states if state.models is not None},
            resident=tuple(model for state in self._states.values() for model in state.resident),
            running=self.running,
            gate=gate,
            gate_reason=reason,
            names={name: state.spec.id for name, state in states},
            closed={name: state.gate for name, state in states if state.gate is not Gate.OPEN}
            if gate is Gate.OPEN
            else {},
            exclusive=frozenset(name for name, state in states if state.spec.exclusive),
            hours=self.device.hours,
            starts={name: state.start_s for name, state in states if state.start_s},
            lanes={name: state.lanes for name, state in states if state.lanes > 1},
        )

    def to_view(self) -> PlaceView:
        """Return what people and programs see of the place."""
        facts = self.to_place()
        return PlaceView(
            device=self.device,
            facts=facts,
            slots=tuple(
                SlotView(
                    spec=state.spec,
                    gate=facts.gate_for(name),
                    problem=state.problem,
                    resident=state.resident,
                    lanes=state.lanes,
                    computes_on=state.computes_on,
                    caution=state.caution,
                    loads=state.loads,
                    evictions=state.evictions,
                )
                for name, state in self._states.items()
            ),
            holds=self.holds,
            use=self.use,
            yielding=self.yielding,
            device_problem=self.device_problem,
        )

    def _judge_gate(self) -> tuple[Gate, str]:
        if self.trouble is not None:
            return Gate.UNHEALTHY, self.trouble
        if self.device_problem is not None:
            return Gate.UNHEALTHY, self.device_problem
        if self._to_restart:
            return Gate.UNHEALTHY, "its device was away, and its engines are ended first"
        if self.held_elsewhere is not None:
            return Gate.UNHEALTHY, self.held_elsewhere
        if self.held_by_leaving is not None:
            return Gate.UNHEALTHY, f"held under its old name by {self.held_by_leaving}"
        other = next((hold for hold in self.lanes if hold.task is None), None)
        if other is not None:  # its memory is not the queue's to give up
            return Gate.UNHEALTHY, f"held by {other}"
        if self.yielding is not None:
            return Gate.DRAINING, f"yields to {self.yielding.to}"
        if self.is_changing:
            return Gate.DRAINING, f"it {'changes' if self._wanted else 'leaves'} when its hold ends"
        gates = {state.gate for state in self._states.values()}
        if not gates or Gate.OPEN in gates:
            return Gate.OPEN, ""
        return (Gate.PAUSED if Gate.PAUSED in gates else Gate.DRAINING), ""

    def count_load(self, engine: str, model: str | None) -> None:
        """Note that an engine is asked for a model now, and count it where it is not in memory."""
        state = self._states.get(engine)
        if state is not None and model is not None and all(held.model != model for held in state.resident):
            state.loads += 1

    def note_use(self, engine: str, model: str | None) -> bool:
        """Note that an engine has just used a model, until `refresh` asks what it really holds.

        Return whether that changes the policy's view.
        """
        state = self._states.get(engine)
        if state is None:
            return False
        start_s = state.start_s
        state.note_start()
        if model is None or any(held.model == model for held in state.resident):
            return state.start_s != start_s
        state.resident = (ResidentModel(engine=engine, model=model),)
        return True

    def take_waited(self, engine: str, attempt: UUID) -> float:
        """Return the seconds that an attempt waited for the start of its engine's server, or for its turn elsewhere."""
        state = self._states.get(engine)
        if state is not None and isinstance(state.engine, WaitsForTurn):
            return state.engine.count_waited(attempt)
        if state is None or not isinstance(state.engine, StartsServer):
            return 0.0
        return state.engine.take_waited(attempt)

    def note_failure(self, engine: str, problem: str, *, now: float) -> None:
        """Take an engine out of use until a check shows that it works; `now` is a monotonic clock in seconds."""
        state = self._states.get(engine)
        if state is None:
            return
        state.check_due = now + RECHECK_AFTER_S[min(state.failures, len(RECHECK_AFTER_S) - 1)]
        state.problem, state.failures, state.resident = problem, state.failures + 1, ()
        state.computes_on = state.caution = None

    # --- checks ------------------------------------------------------------------------------------------------------

    def list_due_checks(self, *, now: float) -> tuple[str, ...]:
        """Return the engines to check now; a held place's engines answer by working."""
        if self.lanes or self._retired or self._to_restart or self.yielding is not None or self.device_problem:
            return ()
        return tuple(name for name, state in self._states.items() if state.check_due <= now)

    async def check(self, engine: str, *, now: float) -> bool:
        """Check whether an engine works and what it holds; return whether the policy's view changed."""
        before, state = self.to_place(), self._states.get(engine)
        if state is None:  # its slot has left since it was due
            return False
        try:
            async with asyncio.timeout(CHECK_DEADLINE_S):
                await state.engine.check()
        except Exception as error:  # noqa: BLE001 (the bug of an engine takes that engine out of use, not the server)
            if self._states.get(engine) is state:
                self.note_failure(engine, _describe_error(error), now=now)
            return self.to_place() != before
        if state.problem is not None:
            log.info("engine_works", slot=state.spec.id)
        state.problem, state.failures, state.check_due = None, 0, now + CHECK_EVERY_S
        await state.ask_models()
        await state.ask_resident()
        # Last, with nothing awaited before the caller shows it: tasks are given lanes by what was shown.
        await state.ask_lanes()
        return self.to_place() != before

    async def refresh_models(self) -> None:
        """Ask each engine which models its server has, if it has one; without an answer, what was known stays."""
        for state in self._states.values():
            await state.ask_models()

    async def refresh(self, engines: Iterable[str]) -> None:
        """Ask engines what they hold in memory; of one that does not answer, what was known stays."""
        for state in self._list_states(engines):
            await state.ask_resident()

    async def evict(self, engines: Iterable[str]) -> None:
        """Make engines give up the memory of their models; best effort: the next load shows a failure."""
        self._to_empty = False
        for state in self._list_states(engines):
            try:
                async with asyncio.timeout(RELEASE_DEADLINE_S):
                    await state.engine.release()
                state.evictions += bool(state.resident)
                state.resident, state.computes_on, state.caution = (), None, None
                state.note_start()
            except Exception as error:  # noqa: BLE001 (as in `check`)
                log.warning("eviction_failed", slot=state.spec.id, error=str(error))

    async def close(self) -> None:
        """Stop every engine; one that fails to stop keeps no other from it."""
        await close_engines([*self.take_retired(), *(state.engine for state in self._states.values())])

    def _list_states(self, engines: Iterable[str]) -> list[SlotState]:
        return [self._states[engine] for engine in engines if engine in self._states]


def _describe_error(error: Exception) -> str:
    if isinstance(error, CorralError):
        return f"{error.what} ({error.hint})" if error.hint else error.what
    if isinstance(error, TimeoutError):
        return f"no answer within {CHECK_DEADLINE_S:g} s"
    log.error("engine_check_raised", exc_info=error)
    return f"its check raised {type(error).__name__}: {error}"
