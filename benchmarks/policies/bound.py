"""What no policy can beat: a lower bound for the makespan, and one for the longest wait.

**Work at prices.** Give each place a price y >= 0, all prices together 1. Consider the tasks that arrive at r or later;
whatever the policy, all their work is done between r and the makespan T, so no place works on them for longer than
T - r. Then T - r = sum over places of y x (T - r) >= sum over places of y x (their work there) >= sum over tasks of the
cheapest y x duration that any place offers. This holds for every choice of prices (it is the dual of the fractional
assignment problem), so the largest over some good choices is taken: prices in proportion to speed, on each subset of
the device models. A task on several places counts for each of them. A model that is on no place at the start must be
loaded at least once, in the run of some task: its load at the cheapest price is added where all of its tasks
arrive at r or later.

**Whole tasks.** A place that gets d seconds finishes at most floor(d / shortest task) of the tasks that arrive at r or
later; T is at least the first time at which the places together reach their number. At r = 0 a place that holds none of
their models has to load one first, so the shortest load is taken off its time.

**The longest.** A task ends no earlier than its arrival plus its duration on its fastest place; a model that must be
loaded adds its load to the first of its tasks.

**Slots of one processor** are one place here: what computes there at the same time shares its time.

**Tasks on several places.** A node with c places runs at most floor(c / g) tasks of g places at once.

**Longest wait.** Of the tasks that arrived by r, the last to start starts at some time s. At s all their work is done
but for what runs on then, at most one task (with its load) a place. At prices y: s >= (their work at the cheapest
prices) - sum over places of y x the longest task there. It arrived by r, so it waited at least s - r.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from math import floor, inf

from corral.scheduling.simulator.values import Arrival, Trace
from corral.scheduling.values import Place
from corral.work import SlotId

MOST_MOMENTS = 60
"""Arrival times that are tried as r; any choice gives a bound, more give a slightly better one."""

_Prices = Mapping[SlotId, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The largest of the bounds, and which argument gave it."""

    seconds: float
    because: str


class Facts:
    """What the bounds ask of a trace, looked up once."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.places = trace.places
        self._loads = {(load.engine, load.model): load.seconds for load in trace.loads}
        self._able: dict[tuple[str, str, int | None], tuple[Place, ...]] = {}

    def able(self, task: Arrival) -> tuple[Place, ...]:
        """The places that could run a task."""
        key = (task.queue, task.engine, task.memory)
        places = self._able.get(key)
        if places is None:
            places = self._able[key] = tuple(place for place in self.places if self._may_use(task, place))
        return places

    def nodes(self, task: Arrival) -> list[list[Place]]:
        """The able places of each node that has enough of them for the task."""
        by_node: defaultdict[str, list[Place]] = defaultdict(list)
        for place in self.able(task):
            by_node[place.node].append(place)
        return [places for places in by_node.values() if len(places) >= task.gpus]

    def load_s(self, task: Arrival) -> float:
        """What loading the task's model takes."""
        return 0.0 if task.model is None else self._loads.get((task.engine, task.model), 0.0)

    def first_load_s(self, task: Arrival, place: Place) -> float:
        """The same, where the place does not hold the model at the start."""
        held = any(resident.engine == task.engine and resident.model == task.model for resident in place.resident)
        return 0.0 if held else self.load_s(task)

    def shortest_s(self, task: Arrival) -> float:
        return min((seconds(task, place) for place in self.able(task)), default=0.0)

    def _may_use(self, task: Arrival, place: Place) -> bool:
        queue = self.trace.queues.get(task.queue)
        in_pool = queue is None or queue.pool is None or place.id in queue.pool
        fits = task.memory is None or place.capacity is None or task.memory <= place.capacity
        return in_pool and fits and task.engine in place.engines


def seconds(task: Arrival, place: Place) -> float:
    """How long a task takes on a place, without loading; infinite where nothing is said."""
    seconds = task.on(place.device_model)
    return inf if seconds is None else seconds


def makespan_bound(trace: Trace) -> Bound:
    """The least time by which any policy can have done everything; outages and slowdowns only add to it."""
    facts = Facts(_merge_processors(trace))
    runnable = [task for task in trace.arrivals if facts.nodes(task)]
    bounds = [
        Bound(seconds=0.0, because="nothing to do"),
        *_longest_task(facts, runnable),
        *_several_places(facts, runnable),
    ]
    prices = list(price_choices(facts, runnable))
    for moment in _moments(runnable):
        later = [task for task in runnable if task.at_s >= moment]
        loads = _unavoidable_loads(facts, runnable, moment)
        work = max((_at_prices(facts, later, price) + _loads_at(facts, loads, price) for price in prices), default=0.0)
        bounds.append(Bound(seconds=moment + work, because="work at prices"))
        bounds.append(Bound(seconds=_whole_tasks(facts, later, moment), because="whole tasks"))
    return max(bounds, key=lambda bound: bound.seconds)


def _merge_processors(trace: Trace) -> Trace:
    """One place for each processor that several share: it does no more than one task's work at a time.

    Loads are left out then, since they can go on next to other tasks.
    """
    shared: dict[str, list[Place]] = defaultdict(list)
    for place in trace.places:
        if place.processor is not None:
            shared[place.processor].append(place)
    if not shared:
        return trace
    merged = [
        replace(places[0], engines=frozenset[str]().union(*(place.engines for place in places)))
        for places in shared.values()
    ]
    alone = [place for place in trace.places if place.processor is None]
    return replace(trace, places=(*alone, *merged), loads=())


def longest_wait_bound(trace: Trace) -> float:
    """The least that the longest wait can be; on one processor that several share, tasks can start at once."""
    if any(place.processor is not None for place in trace.places):
        return 0.0
    facts = Facts(trace)
    runnable = [task for task in trace.arrivals if facts.nodes(task)]
    prices = list(price_choices(facts, runnable))
    best = 0.0
    for moment in _moments(runnable):
        early = [task for task in runnable if task.at_s <= moment]
        for price in prices:
            running = sum(price[place.id] * _longest_on(facts, early, place) for place in facts.places)
            best = max(best, _at_prices(facts, early, price) - running - moment)
    return best


def price_choices(facts: Facts, tasks: Sequence[Arrival]) -> Iterator[_Prices]:
    """Prices in proportion to measured speed, on each subset of the device models; any prices make a bound."""
    speed = {place.id: _speed(facts, tasks, place) for place in facts.places}
    models = sorted({place.device_model for place in facts.places})
    for chosen in chain.from_iterable(combinations(models, count) for count in range(1, len(models) + 1)):
        total = sum(speed[place.id] for place in facts.places if place.device_model in chosen)
        if total > 0:
            yield {place.id: speed[place.id] / total if place.device_model in chosen else 0.0 for place in facts.places}


def _speed(facts: Facts, tasks: Sequence[Arrival], place: Place) -> float:
    """Tasks per second on a place, over all that it could run."""
    total = sum(seconds(task, place) for task in tasks if place in facts.able(task))
    return 1 / total if 0 < total < inf else 0.0


def _moments(tasks: Sequence[Arrival]) -> list[float]:
    """Some arrival times, the first and the last among them."""
    every = sorted({task.at_s for task in tasks})
    step = max(1, len(every) // MOST_MOMENTS)
    return sorted({*every[::step], *every[-1:]})


def _at_prices(facts: Facts, tasks: Iterable[Arrival], price: _Prices) -> float:
    """All the work, each task where it is cheapest."""
    cheapest: dict[object, float] = {}
    total = 0.0
    for task in tasks:
        if task.gpus > 1:
            total += min(_on_node(task, places, price) for places in facts.nodes(task))
            continue
        key = (id(task.seconds), task.queue, task.engine, task.memory)
        if key not in cheapest:
            cheapest[key] = min(price[place.id] * seconds(task, place) for place in facts.able(task))
        total += cheapest[key]
    return total


def _on_node(task: Arrival, places: Sequence[Place], price: _Prices) -> float:
    """At least what a task costs that takes several places of a node at once."""
    cheapest = sorted(price[place.id] for place in places)[: task.gpus]
    return sum(cheapest) * min(seconds(task, place) for place in places)


def _unavoidable_loads(facts: Facts, tasks: Iterable[Arrival], moment: float) -> list[Arrival]:
    """One task of each model that is nowhere at the start, and whose tasks all arrive at the moment or later."""
    first: dict[tuple[str, str | None], Arrival] = {}
    for task in tasks:
        first.setdefault((task.engine, task.model), task)
    return [
        task
        for task in first.values()
        if task.at_s >= moment and all(facts.first_load_s(task, place) > 0 for place in facts.able(task))
    ]


def _loads_at(facts: Facts, tasks: Iterable[Arrival], price: _Prices) -> float:
    return sum(facts.load_s(task) * min(price[place.id] for place in facts.able(task)) for task in tasks)


def _whole_tasks(facts: Facts, tasks: Sequence[Arrival], moment: float) -> float:
    """The first time at which the places together could have finished as many tasks of at least the shortest length."""
    shortest: dict[SlotId, tuple[float, float]] = {}
    for place in facts.places:
        possible = [task for task in tasks if place in facts.able(task)]
        if possible:
            head_start = min(facts.first_load_s(task, place) for task in possible) if moment == 0 else 0.0
            shortest[place.id] = head_start, min(seconds(task, place) for task in possible)
    places_needed = sum(task.gpus for task in tasks)
    if any(task_s == 0 for _, task_s in shortest.values()):
        return moment
    low, high = 0.0, max((head + places_needed * task_s for head, task_s in shortest.values()), default=0.0)
    while high - low > 1e-6:
        middle = (low + high) / 2
        done = sum(max(0, floor((middle - head) / task_s)) for head, task_s in shortest.values())
        low, high = (low, middle) if done >= places_needed else (middle, high)
    return moment + low


def _longest_task(facts: Facts, tasks: Iterable[Arrival]) -> Iterator[Bound]:
    first_end: dict[tuple[str, str | None], float] = {}
    for task in tasks:
        end = task.at_s + facts.shortest_s(task)
        yield Bound(seconds=end, because="longest task")
        load = min(facts.first_load_s(task, place) for place in facts.able(task))
        key = (task.engine, task.model)
        first_end[key] = min(first_end.get(key, inf), end + load)
    for end in first_end.values():
        yield Bound(seconds=end, because="first load of a model")


def _several_places(facts: Facts, tasks: Sequence[Arrival]) -> Iterator[Bound]:
    """Tasks of as many places each, by themselves."""
    for gpus in sorted({task.gpus for task in tasks if task.gpus > 1}):
        gangs = [task for task in tasks if task.gpus == gpus]
        nodes: dict[str, set[SlotId]] = defaultdict(set)
        for task in gangs:
            for place in facts.able(task):
                nodes[place.node].add(place.id)
        at_once = sum(len(places) // gpus for places in nodes.values())
        for moment in _moments(gangs):
            work = sum(facts.shortest_s(task) for task in gangs if task.at_s >= moment)
            yield Bound(seconds=moment + work / at_once, because="tasks on several slots")


def _longest_on(facts: Facts, tasks: Iterable[Arrival], place: Place) -> float:
    """The longest that one task could occupy a place, loading included."""
    return max((seconds(task, place) + facts.load_s(task) for task in tasks if place in facts.able(task)), default=0.0)
