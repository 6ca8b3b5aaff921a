"""The slots while a simulation goes on: what runs, what is loaded, whether they are there.

A bay follows `corral.tasks.stations`, which stands behind a slot in production: an engine keeps the last model that it
ran, a model that is given up takes all of its engine's with it, and a slot that went away has lost what it held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from corral.scheduling.slot_table import is_free
from corral.scheduling.values import Gate, ResidentModel, RunningTask, Slot
from corral.work import SlotId


class Bay:
    """One slot; `slot` is the policy's view of it, made anew after each change."""

    __slots__ = ("_away", "_given", "_idle", "resident", "running", "slot")

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.running: RunningTask | None = None
        self.resident = slot.resident
        self._given = slot
        self._idle = slot
        self._away = 0

    @property
    def is_free(self) -> bool:
        """Whether the policy may give it a task."""
        return is_free(self.slot)

    def has(self, engine: str, model: str | None) -> bool:
        """Whether a model is in its memory."""
        return any(held.model == model and held.engine == engine for held in self.resident)

    def occupy(self, running: RunningTask) -> None:
        """Begin with a task."""
        self.running = running
        self.slot = self._view(running)

    def vacate(self) -> None:
        """End the present task."""
        self.running = None
        self.slot = self._idle

    def holds(self, loaded: ResidentModel) -> None:
        """Note that an engine has just used a model, and has given up the one that it had before."""
        if not self.has(loaded.engine, loaded.model):
            self.resident = (*self._without(loaded.engine), loaded)
            self._changed()

    def give_up(self, engine: str) -> None:
        """Empty an engine's memory."""
        self.resident = self._without(engine)
        self._changed()

    def leave(self) -> None:
        """Go away, for one reason more, and lose what is loaded."""
        self._away += 1
        self.resident = ()
        self._changed()

    def come_back(self) -> None:
        """Be there again once no reason to be away is left."""
        self._away -= 1
        self._changed()

    def _without(self, engine: str) -> tuple[ResidentModel, ...]:
        return tuple(held for held in self.resident if held.engine != engine)

    def _changed(self) -> None:
        self._idle = self._view(None)
        self.slot = self._idle if self.running is None else self._view(self.running)

    def _view(self, running: RunningTask | None) -> Slot:
        given = self._given
        return Slot(
            id=given.id,
            node=given.node,
            device=given.device,
            device_model=given.device_model,
            capacity=given.capacity,
            engines=given.engines,
            engine_problems=given.engine_problems,
            resident=self.resident,
            running=running,
            gate=Gate.UNHEALTHY if self._away else given.gate,
            gate_reason="it is away" if self._away else given.gate_reason,
        )


class Bays:
    """All slots of a trace, by name."""

    def __init__(self, slots: Iterable[Slot]) -> None:
        self._bays = {slot.id: Bay(slot) for slot in slots}

    def __getitem__(self, slot: SlotId) -> Bay:
        return self._bays[slot]

    def __iter__(self) -> Iterator[Bay]:
        return iter(self._bays.values())

    def slots(self) -> tuple[Slot, ...]:
        """The policy's view of all."""
        return tuple([bay.slot for bay in self._bays.values()])

    def free(self) -> int:
        """How many may be given a task now."""
        return sum([bay.is_free for bay in self._bays.values()])
