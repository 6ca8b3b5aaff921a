"""How models are used: how long they take to load, how often they were asked for lately, who will want them again.

*Loading* is measured as the difference of medians between attempts that found their model in memory and those that did
not. Where one of these is missing it is guessed from the size. *Asked lately* counts each start, half of it after
`HALF_LIFE`. What a model costs to bring back is the product: the seconds of loading that giving it up should cause.

A model that a person used *stays* for a while: until the longest but a tenth of the gaps between a person's requests
for it is over, as far as these are known, and for `LONGEST_STAY` at most. Gaps longer than that are not waited for, and
teach nothing. Where its device would do nothing meanwhile it stays no longer than a load of it takes, there and back:
then waiting costs at most as much again as the loads that it can save. (Karlin, Manasse, Rudolph, Sleator,
"Competitive snoopy caching", 1988: renting until the rent has reached the price costs twice the best at most.)

All of this is learnt anew at each start of the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil
from statistics import median

from corral.scheduling.durations import KEPT
from corral.scheduling.place_table import Work
from corral.scheduling.values import ModelUse
from corral.units import Bytes
from corral.work import TaskClass

HALF_LIFE = timedelta(minutes=30)
"""After so long a start counts half: about a person's session."""
LONGEST_STAY = timedelta(minutes=10)
"""How long a model can stay for a person who does not ask; a person who is away longer waits for the load."""
SHORTEST_STAY = timedelta(seconds=30)
UNKNOWN_STAY = timedelta(minutes=2)
"""Where fewer than `FEW_GAPS` gaps are known: as long as a model's turn (`PolicyBounds.affinity_delay`)."""
FEW_GAPS = 3
LOADS_SAVED = 2
"""Loads that a stay can save: that of the model, and that of what would go in its place."""
PART_OF_GAPS = 0.9
LOAD_BYTES_PER_S = 2**30
"""Assumed where no load was measured: a local disk read at 1 GiB/s."""
UNKNOWN_LOAD_S = 10.0
"""Assumed where the size is unknown too."""
MOST_MODELS = 1024
"""Models remembered; those used longest ago are forgotten first."""


def find_loss(use: ModelUse | None, memory: Bytes | None, now: datetime) -> float:
    """Return the seconds of loading that giving a model up should cost, by how often it was asked for lately."""
    if use is None:
        return 0.0
    return _guess_load_s(use.load_s, memory) * use.asked * 0.5 ** ((now - use.asked_at) / HALF_LIFE)


def _guess_load_s(measured: float | None, memory: Bytes | None) -> float:
    if measured is not None:
        return measured
    return UNKNOWN_LOAD_S if memory is None else memory / LOAD_BYTES_PER_S


@dataclass(slots=True)
class _Learnt:
    use: ModelUse
    with_load: deque[float] = field(default_factory=lambda: deque[float](maxlen=KEPT))
    without_load: deque[float] = field(default_factory=lambda: deque[float](maxlen=KEPT))
    gaps_s: deque[float] = field(default_factory=lambda: deque[float](maxlen=KEPT))
    person_left_at: datetime | None = None


class ModelUses(Mapping[Work, ModelUse]):
    """The use of each model, as far as it was learnt; the policy reads it as it is."""

    def __init__(self) -> None:
        self._learnt: dict[Work, _Learnt] = {}

    def __getitem__(self, work: Work) -> ModelUse:
        return self._learnt[work].use

    def __iter__(self) -> Iterator[Work]:
        return iter(self._learnt)

    def __len__(self) -> int:
        return len(self._learnt)

    def begin(self, work: Work, task_class: TaskClass, now: datetime) -> None:
        """Note that a task with the model starts."""
        learnt = self._learnt.pop(work, None) or _Learnt(ModelUse(asked_at=now))
        self._learnt[work] = learnt
        if len(self._learnt) > MOST_MODELS:
            del self._learnt[next(iter(self._learnt))]
        use = learnt.use
        asked = use.asked * 0.5 ** ((now - use.asked_at) / HALF_LIFE) + 1.0
        learnt.use = replace(use, asked=asked, asked_at=now)
        if task_class is TaskClass.INTERACTIVE and learnt.person_left_at is not None:
            gap = max(timedelta(0), now - learnt.person_left_at)
            if gap <= LONGEST_STAY:
                learnt.gaps_s.append(gap.total_seconds())

    def end(
        self,
        work: Work,
        task_class: TaskClass,
        now: datetime,
        *,
        seconds: float,
        loaded: bool,
        memory: Bytes | None = None,
    ) -> None:
        """Note that a task with the model has ended well, after so many seconds, in which it was loaded or not."""
        learnt = self._learnt.get(work)
        if learnt is None:
            return
        (learnt.with_load if loaded else learnt.without_load).append(seconds)
        load_s = None
        if learnt.with_load and learnt.without_load:
            load_s = max(0.0, median(learnt.with_load) - median(learnt.without_load))
        learnt.use = replace(learnt.use, load_s=load_s)
        if task_class is TaskClass.INTERACTIVE:
            learnt.person_left_at = now
            stay = _find_stay(learnt.gaps_s)
            idle = timedelta(seconds=LOADS_SAVED * _guess_load_s(load_s, memory))
            learnt.use = replace(learnt.use, stays_until=now + stay, idle_until=now + min(stay, idle))


def _find_stay(gaps_s: deque[float]) -> timedelta:
    if len(gaps_s) < FEW_GAPS:
        return UNKNOWN_STAY
    in_order = sorted(gaps_s)
    gap = timedelta(seconds=in_order[ceil(PART_OF_GAPS * len(in_order)) - 1])
    return min(max(gap, SHORTEST_STAY), LONGEST_STAY)
