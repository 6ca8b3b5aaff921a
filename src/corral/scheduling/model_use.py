"""How models are used: how long they take to load, how often they were asked for lately, who will want them again.

*Loading* is measured as the difference of medians between attempts that found their model in memory and those that did
not. Where one of these is missing it is guessed from the size. *Asked lately* counts each start, half of it after
`HALF_LIFE`. What a model costs to bring back is the product: the seconds of loading that giving it up should cause.

A model that a person used *stays* for a while: until the longest but a tenth of the gaps between a person's requests
for it is over, as far as these are known, and for `LONGEST_STAY` at most. Gaps longer than that are not waited for, and
teach nothing about that.

Where its device would do nothing meanwhile, a stay costs the device's time. Of the gaps that were seen it then stays
for the one at which the loads that are saved, and the person's wait for them, outweigh by most what the device waits,
and not at all where none does. As long as too few were seen it stays for as long as those loads take: then waiting
costs at most as much again as they do. (Karlin, Manasse, Rudolph, Sleator, "Competitive snoopy caching", 1988: renting
until the rent has reached the price costs twice the best at most.)

All of this is learnt anew at each start of the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
PERSON_WEIGHT = 1
"""How many seconds of an idle device a second is worth that a person waits for a load: with 8, the batch of the
workload *interactive* (`python -m benchmarks.policies`) takes a tenth longer, for 3 s less of the people's p99."""
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
    asked: float
    asked_at: datetime
    with_load: deque[float] = field(default_factory=lambda: deque[float](maxlen=KEPT))
    without_load: deque[float] = field(default_factory=lambda: deque[float](maxlen=KEPT))
    gaps_s: deque[float] = field(default_factory=lambda: deque[float](maxlen=KEPT))
    person_left_at: datetime | None = None
    """When the last task of a person ended."""
    left_gaps_s: tuple[float, ...] = ()
    """The gaps that were known then."""
    person_memory: Bytes | None = None
    """The memory of its model then; None when unknown."""
    use: ModelUse | None = None
    """What follows from all of this, once it was read; None after a change."""

    def find_use(self) -> ModelUse:
        """Return what follows from what was learnt: worked out once for each change, where anything reads it."""
        if self.use is None:
            load_s = stays_until = idle_until = None
            if self.with_load and self.without_load:
                load_s = max(0.0, median(self.with_load) - median(self.without_load))
            if self.person_left_at is not None:
                stay, idle = find_stays(self.left_gaps_s, _guess_load_s(load_s, self.person_memory))
                stays_until, idle_until = self.person_left_at + stay, self.person_left_at + idle
            self.use = ModelUse(
                asked=self.asked,
                asked_at=self.asked_at,
                load_s=load_s,
                stays_until=stays_until,
                idle_until=idle_until,
            )
        return self.use


class ModelUses(Mapping[Work, ModelUse]):
    """The use of each model, as far as it was learnt; the policy reads it as it is."""

    def __init__(self) -> None:
        self._learnt: dict[Work, _Learnt] = {}

    def __getitem__(self, work: Work) -> ModelUse:
        return self._learnt[work].find_use()

    def __iter__(self) -> Iterator[Work]:
        return iter(self._learnt)

    def __len__(self) -> int:
        return len(self._learnt)

    def begin(self, work: Work, task_class: TaskClass, now: datetime) -> None:
        """Note that a task with the model starts."""
        learnt = self._learnt.pop(work, None) or _Learnt(asked=0.0, asked_at=now)
        self._learnt[work] = learnt
        if len(self._learnt) > MOST_MODELS:
            del self._learnt[next(iter(self._learnt))]
        learnt.asked = learnt.asked * 0.5 ** ((now - learnt.asked_at) / HALF_LIFE) + 1.0
        learnt.asked_at, learnt.use = now, None
        if task_class is TaskClass.INTERACTIVE and learnt.person_left_at is not None:
            learnt.gaps_s.append(max(0.0, (now - learnt.person_left_at).total_seconds()))

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
        learnt.use = None
        if task_class is TaskClass.INTERACTIVE:
            learnt.person_left_at, learnt.left_gaps_s, learnt.person_memory = now, tuple(learnt.gaps_s), memory


def find_stays(gaps_s: Sequence[float], load_s: float) -> tuple[timedelta, timedelta]:
    """Return how long a model stays where its device does other work meanwhile, and where it would be idle.

    `gaps_s` are the seconds between the last requests for it, `load_s` is how long it takes to load.
    """
    within_s = sorted(gap for gap in gaps_s if gap <= LONGEST_STAY.total_seconds())
    if len(within_s) < FEW_GAPS:
        return UNKNOWN_STAY, min(UNKNOWN_STAY, timedelta(seconds=LOADS_SAVED * load_s))
    most = timedelta(seconds=within_s[ceil(PART_OF_GAPS * len(within_s)) - 1])
    stay = min(max(most, SHORTEST_STAY), LONGEST_STAY)
    return stay, timedelta(seconds=_find_idle_stay(sorted(gaps_s), (LOADS_SAVED + PERSON_WEIGHT) * load_s))


def _find_idle_stay(gaps_s: Sequence[float], saved_s: float) -> float:
    """Find the gap, of those in ascending order, for which a model is worth an idle device; 0 where none is.

    A stay saves `saved_s` for each gap that is not longer, and costs each gap, at most the stay itself.
    """
    best = best_s = spent_s = 0.0
    for count, gap in enumerate(gaps_s, start=1):
        if gap > LONGEST_STAY.total_seconds():
            break
        spent_s += gap
        worth = saved_s * count - spent_s - gap * (len(gaps_s) - count)
        if worth > best:
            best, best_s = worth, gap
    return best_s
