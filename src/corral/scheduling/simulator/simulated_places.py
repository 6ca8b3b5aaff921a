"""The places while a simulation goes on: what runs, what is loaded, whether they are there.

A simulated place follows `corral.slots.place`, as places behave in production: an engine keeps the last model that it
ran, a model that is given up takes all of its engine's with it, and a place that went away has lost what it held.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from corral.hours import Hours
from corral.scheduling.place_table import PlaceTable
from corral.scheduling.values import Gate, Place, ResidentModel, RunningTask
from corral.work import SlotId


class SimulatedPlace:
    """One place; its view in the policy's table is made anew after each change."""

    __slots__ = ("_away", "_given", "_idle", "_table", "resident", "running")

    def __init__(self, place: Place, table: PlaceTable) -> None:
        self.running: tuple[RunningTask, ...] = ()
        self.resident = place.resident
        self._given = place
        self._idle = place
        self._table = table
        self._away = 0
        table.put(place)

    @property
    def id(self) -> SlotId:
        """The place's name."""
        return self._given.id

    @property
    def device_model(self) -> str:
        """The model of its GPU, or `cpu`."""
        return self._given.device_model

    @property
    def processor(self) -> str | None:
        """The processor that it shares with others; None where it has one of its own."""
        return self._given.processor

    def find_processor(self, engine: str) -> str | None:
        """Find the name of what others can compute on next to a task of an engine; None where it computes by itself."""
        return self.processor or (self.id if self._given.lanes_for(engine) > 1 else None)

    @property
    def is_free(self) -> bool:
        """Whether the policy can give it a task."""
        return self.id in self._table.free

    def has(self, engine: str, model: str | None) -> bool:
        """Whether a model is in its memory."""
        return any(held.model == model and held.engine == engine for held in self.resident)

    def find_free_lane(self) -> int:
        """The first lane that no task has."""
        taken = {running.lane for running in self.running}
        return next(lane for lane in count() if lane not in taken)

    def occupy(self, running: RunningTask) -> None:
        """Begin with a task, in a lane next to those that are there."""
        self.running = (*self.running, running)
        self._table.put(self._view(self.running))

    def vacate(self, task: int) -> None:
        """End a task."""
        self.running = tuple(running for running in self.running if running.task != task)
        self._table.put(self._view(self.running) if self.running else self._idle)

    def keep(self, loaded: ResidentModel) -> None:
        """Note that an engine has just used a model, and has given up the one that it had before."""
        if not self.has(loaded.engine, loaded.model):
            self.resident = (*self._without(loaded.engine), loaded)
            self._show()

    def give_up(self, engine: str) -> None:
        """Empty an engine's memory."""
        self.resident = self._without(engine)
        self._show()

    @property
    def hours(self) -> Hours | None:
        """When tasks can start on it; None is always."""
        return self._given.hours

    def empty(self) -> None:
        """Give up all that is loaded."""
        self.resident = ()
        self._show()

    def leave(self) -> None:
        """Go away, for one more reason, and lose what is loaded."""
        self._away += 1
        self.resident = ()
        self._show()

    def come_back(self) -> None:
        """Be there again once no reason to be away is left."""
        self._away -= 1
        self._show()

    def _without(self, engine: str) -> tuple[ResidentModel, ...]:
        return tuple(held for held in self.resident if held.engine != engine)

    def _show(self) -> None:
        """Put the place as it is now into the policy's table."""
        self._idle = self._view(())
        self._table.put(self._view(self.running) if self.running else self._idle)

    def _view(self, running: tuple[RunningTask, ...]) -> Place:
        given = self._given
        return Place(
            id=given.id,
            node=given.node,
            device=given.device,
            processor=given.processor,
            device_model=given.device_model,
            capacity=given.capacity,
            engines=given.engines,
            engine_problems=given.engine_problems,
            models=given.models,
            resident=self.resident,
            running=running,
            lanes=given.lanes,
            gate=Gate.UNHEALTHY if self._away else given.gate,
            gate_reason="it is away" if self._away else given.gate_reason,
            hours=given.hours,
            names=given.names,
            closed=given.closed,
            exclusive=given.exclusive,
        )


class SimulatedPlaces:
    """All places of a trace, by name, and the policy's view of them."""

    def __init__(self, places: Iterable[Place], *, unknown_s: float) -> None:
        self.table = PlaceTable(unknown_s=unknown_s)
        self._places = {place.id: SimulatedPlace(place, self.table) for place in places}

    def __getitem__(self, place: SlotId) -> SimulatedPlace:
        return self._places[place]

    def list_timed(self) -> list[SimulatedPlace]:
        """List those with hours."""
        return [self._places[name] for name in self.table.timed]

    def count_free(self) -> int:
        """Count the tasks that they could be given now."""
        return self.table.free_lanes
