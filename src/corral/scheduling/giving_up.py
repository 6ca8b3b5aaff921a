"""Which models are given up so that a task fits: those that cost least to bring back.

The task's own engine changes its model anyway, so what it holds at the task's place goes first; the task's own model
goes last. In between: what no waiting task needs before what one does, and what should cost fewer seconds of loading
(`model_use`) before what costs more, the larger between equals, so that few are lost. In the end, what turns out to
fit after all is kept, the dearest first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import datetime

from corral.scheduling.model_use import find_loss
from corral.scheduling.place_table import Work
from corral.scheduling.values import ModelUse, Place, QueuedTask, ResidentModel, Snapshot
from corral.work import SlotId

Eviction = tuple[SlotId, ResidentModel]

Loss = tuple[bool, bool, bool, float, int, SlotId, str, str]
"""Sort key of a model that could be given up; the lowest goes first."""


class Losses:
    """What giving up a model costs, in one decision."""

    def __init__(self, uses: Mapping[Work, ModelUse], wanted: Callable[[], Container[Work]], now: datetime) -> None:
        """`wanted` lists the models that waiting tasks need; it is asked at most once."""
        self._uses = uses
        self._wanted = wanted
        self._waits: Container[Work] | None = None
        self._now = now

    def is_wanted(self, resident: ResidentModel) -> bool:
        """Whether a waiting task needs the model."""
        if self._waits is None:
            self._waits = self._wanted()
        return (resident.engine, resident.model) in self._waits

    def find_seconds(self, resident: ResidentModel) -> float:
        """Seconds of loading that giving the model up should cost."""
        return find_loss(self._uses.get((resident.engine, resident.model)), resident.memory, self._now)

    def rate(self, place: SlotId, task: QueuedTask, eviction: Eviction) -> Loss:
        """Return the sort key of a model that could be given up for a task on a place."""
        loser, resident = eviction
        is_own = loser == place and resident.engine == task.engine
        return (
            is_own and resident.model == task.model,
            not is_own,
            self.is_wanted(resident),
            self.find_seconds(resident),
            -(resident.memory or 0),
            loser,
            resident.engine,
            resident.model,
        )


def choose(
    candidates: Iterable[Eviction],
    rate: Callable[[Eviction], Loss],
    fits_without: Callable[[Sequence[Eviction]], bool],
) -> tuple[Eviction, ...]:
    """Choose models to give up until the task fits, all that have a known size where that is too little."""
    chosen: list[Eviction] = []
    for eviction in sorted((known for known in candidates if known[1].memory), key=rate):
        if fits_without(chosen):
            break
        chosen.append(eviction)
    for eviction in sorted(chosen, key=rate, reverse=True):
        others = [other for other in chosen if other is not eviction]
        if fits_without(others):
            chosen = others
    return tuple(chosen)


class Stays:
    """The models that stay for a person who used them, in one decision; batch tasks do not make them go.

    One that has kept batch tasks waiting for `PolicyBounds.model_stay` stays no longer, until it was given up.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._now = snapshot.now
        self._bound = snapshot.bounds.model_stay
        self._since = snapshot.kept_since
        self._uses = {
            work: use
            for work, use in snapshot.uses.items()
            if use.stays_until is not None and use.stays_until > self._now
        }
        self.until: dict[Work, datetime] = {}
        """Until when each stays."""
        for work, use in self._uses.items():
            self._limit(work, use.stays_until)
        self._keeping: defaultdict[Work, set[str]] = defaultdict(set)
        """Devices that models keep batch tasks from."""

    def _limit(self, work: Work, until: datetime | None) -> None:
        """Let a model stay until then, and no longer than the bound."""
        limit = self._since.get(work, self._now) + self._bound
        if until is not None and min(until, limit) > self._now:
            self.until[work] = min(until, limit)
        else:
            self.until.pop(work, None)

    def let_go_where_idle(self, is_idle: Callable[[str], bool]) -> bool:
        """Let models go sooner that keep tasks from a device which does nothing else; whether one goes now."""
        before = len(self.until)
        for work, devices in self._keeping.items():
            if any(map(is_idle, devices)):
                self._limit(work, self._uses[work].idle_until)
        return len(self.until) < before

    def select(self, residents: Iterable[ResidentModel], task: QueuedTask) -> list[ResidentModel]:
        """Select the models that stay, without the task's own."""
        return [held for held in residents if (held.engine, held.model) in self.until and not is_model_of(held, task)]

    def note(self, residents: Iterable[ResidentModel], device: str) -> None:
        """Note that models keep a batch task from a device."""
        for held in residents:
            self._keeping[held.engine, held.model].add(device)

    def list_kept_since(self, given_up: Container[Work]) -> dict[Work, datetime]:
        """Since when each model keeps batch tasks waiting, for the next decision; those given up begin anew."""
        known = {work: since for work, since in self._since.items() if work in self._uses}
        known |= {work: self._since.get(work, self._now) for work in self._keeping}
        return {work: since for work, since in known.items() if work not in given_up}

    def find_next_end(self) -> datetime | None:
        """When the first of the models that keep a task waiting stays no longer."""
        return min((self.until[work] for work in self._keeping if work in self.until), default=None)


def is_resident(place: Place, task: QueuedTask) -> bool:
    """Whether the task's model is in the place's memory."""
    return any(is_model_of(resident, task) for resident in place.resident)


def is_model_of(resident: ResidentModel, task: QueuedTask) -> bool:
    """Whether the resident is what the task needs loaded."""
    return resident.model == task.model and resident.engine == task.engine
