"""Where a task goes when several places would do.

In order: where a lost attempt of it ran (its job can be found again), on its preferred node within a bound (`wishes`),
where its model is resident, where it was measured fastest (tasks that compute at the same time on one processor take
turns, so N of them take N times as long), where the least computes next to it, where the fewest of its lanes are taken
(`lanes`), where the models that are given up cost
least to bring back (`giving_up`) and are fewest, where the least memory is left over, and the place's name, so that the
same question always has the same answer.

Tasks that ask for the same rank the free places alike, so these are ranked once and kept in heaps. A place that was
given away, or that is another choice since its device changed (`Room.touched`), is dropped or ranked anew when it is
looked at: a choice costs O(log places), and the first one for a demand O(places that are free).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Sequence
from heapq import heapify, heappop, heappush
from math import inf
from typing import NamedTuple

from corral.scheduling.durations import Expectations
from corral.scheduling.giving_up import is_model_of, is_resident
from corral.scheduling.room import Room, is_preferred
from corral.scheduling.values import Place, QueuedTask
from corral.scheduling.wishes import Wishes
from corral.work import SlotId

Choice = tuple[bool, bool, float, int, float, float, int, float, SlotId]

_Rank = tuple[bool, float, int, float, float, int, float]
"""A choice but for the preference and the name."""
_Ranked = tuple[bool, float, int, float, float, int, float, SlotId, int]
"""A choice but for the preference, and which view of the place it was made from (`Room.stamps`)."""

_Group = tuple[str, bool]
"""Places that a task would be late on alike: a device model, and whether they are on its preferred node."""

_ANYWHERE, _ON_NODE, _ELSEWHERE = (True, False), (True,), (False,)

_REASONS = (
    "lost attempt ran here",
    "model resident",
    "fastest measured",
    "least work next to it",
    "fewest lanes taken",
    "cheapest models given up",
    "fewest models given up",
    "least memory left over",
    "first of alike slots",
)
"""The deciding property, by the position in `Choice` where the best and the second best differ."""
_FREE_LANE = "lane free next to its like"


class Pick(NamedTuple):
    """The result of a choice."""

    place: Place | None
    """None where no free place can have the task, or all are too late for it."""
    because: str = ""
    is_late: bool = False
    """Whether a free place could have it, but is too late."""
    is_drained: bool = False
    """Whether a shared place could have it, but runs empty for another."""


def rate_place(place: Place, task: QueuedTask, room: Room, expectations: Expectations) -> Choice:
    """Sort key of a place for a task; the lowest is the best."""
    measured = expectations.measured(task, place.device_model)
    computing = room.count_computing(place)
    evicted, load = room.plan_evictions(place, task)
    lost = [resident for _, resident in evicted]
    lost += [
        resident
        for resident in place.resident
        if resident.engine == task.engine and not is_model_of(resident, task) and (place.id, resident) not in evicted
    ]
    return (
        not is_preferred(place, task),
        not (is_resident(place, task) or (place.id in room.lanes.shared and task.model is not None)),
        inf if measured is None else measured * (1 + computing) + place.start_for(task.engine),
        computing,
        room.lanes.find_part_taken(place),
        sum(map(room.losses.find_seconds, lost)),
        len(lost),
        room.left(place) - load,
        place.id,
    )


class Choosing:
    """Chooses places for the tasks of one decision."""

    def __init__(
        self,
        room: Room,
        expectations: Expectations,
        wishes: Wishes,
        *,
        allows: Callable[[Place, QueuedTask], bool],
        may_join: Callable[[Place, QueuedTask], bool],
    ) -> None:
        """`may_join` says whether a task can have a place that others share, or one that nothing has."""
        self._room = room
        self._expectations = expectations
        self._wishes = wishes
        self._allows = allows
        self._may_join = may_join
        self._rankings: dict[Hashable, _Ranking] = {}

    def can_have(self, task: QueuedTask, place: Place) -> bool:
        """Whether the place is free and fits the task, and neither a reservation nor a task before it keeps it."""
        return self._room.is_option(place, task) and self._allows(place, task) and self._may_join(place, task)

    def pick(self, task: QueuedTask, is_too_late: Callable[[QueuedTask, Place], bool]) -> Pick:
        """Choose the best free place that is not too late for the task, with the reason in a few words.

        Places are too late by their group; the one that the task prefers never is.
        """
        preferred = self._room.find_preferred(task)
        if preferred is not None and self.can_have(task, preferred):
            return Pick(preferred, _REASONS[0])
        if task.prefer_node is not None:
            return self._pick_by_wish(task, is_too_late)
        return self._pick_on(_ANYWHERE, task, is_too_late)

    def _pick_by_wish(self, task: QueuedTask, is_too_late: Callable[[QueuedTask, Place], bool]) -> Pick:
        near, far = (self._pick_on(sides, task, is_too_late) for sides in (_ON_NODE, _ELSEWHERE))
        if near.place is None or far.place is None:
            return Pick(
                near.place or far.place,
                near.because or far.because,
                near.is_late or far.is_late,
                near.is_drained or far.is_drained,
            )
        return Pick(near.place, "preferred node") if self._wishes.is_worth(task, near.place, far.place) else far

    def _pick_on(
        self, sides: Container[bool], task: QueuedTask, is_too_late: Callable[[QueuedTask, Place], bool]
    ) -> Pick:
        """Choose among the places of the preferred node, those elsewhere, or all."""
        best, is_late, is_drained = self._find_best_two(sides, task, is_too_late)
        if not best:
            return Pick(None, is_late=is_late, is_drained=is_drained)
        place = self._room.free[_name(best[0])]
        is_joined = place.id in self._room.lanes.shared
        return Pick(place, _FREE_LANE if is_joined else _explain_choice(best))

    def _find_best_two(
        self, sides: Container[bool], task: QueuedTask, is_too_late: Callable[[QueuedTask, Place], bool]
    ) -> tuple[list[_Ranked], bool, bool]:
        """The best choices (the second is there for its reason), and whether others could have it but are late, drain.

        That costs more than the choice, so it is worked out only for places that are looked at.
        """
        ranking = self._rank_for(task)
        avoided = self._room.find_avoided(task)
        in_time: set[_Group] = set()
        late: set[_Group] = set()
        is_drained = False
        best: list[_Ranked] = []
        aside: list[tuple[_Group, _Ranked]] = []
        while len(best) < 2:
            top = ranking.first(sides, late)
            if top is None:
                break
            group, ranked = top
            place = self._room.free[_name(ranked)]
            if place.id not in avoided and not self._may_join(place, task):
                is_drained = True
            elif place.id not in avoided:
                if group not in in_time and is_too_late(task, place):
                    late.add(group)
                    continue
                in_time.add(group)
                best.append(ranked)
                if not ranked[0]:
                    break  # its model is resident there, which is reason enough
            aside.append((group, ranking.pop(group)))
        for group, ranked in aside:
            ranking.push(group, ranked)
        return best, bool(late), is_drained

    def _rank_for(self, task: QueuedTask) -> _Ranking:
        """The free places in the order in which they suit the task, as they are now."""
        demand = (
            task.queue,
            task.engine,
            task.model,
            task.memory,
            task.node,
            task.prefer_node,
            task.share,
            task.task_class,
            task.lasts_s,
        )
        ranking = self._rankings.get(demand)
        if ranking is None:
            ranking = self._rankings[demand] = _Ranking(task, self._room, self._expectations, self._allows)
        ranking.follow()
        return ranking


class _Ranking:
    """The free places for one demand, in a heap for each group."""

    def __init__(
        self, task: QueuedTask, room: Room, expectations: Expectations, allows: Callable[[Place, QueuedTask], bool]
    ) -> None:
        self._task = task
        self._room = room
        self._expectations = expectations
        self._allows = allows
        self._free = room.eligible(task).free
        self._heaps: dict[_Group, list[_Ranked]] = {}
        self._ranks: dict[Hashable, _Rank] = {}
        self._followed = len(room.touched)
        for name, place in self._free.items():
            if name in room.free:
                self._enter(place)
        for heap in self._heaps.values():
            heapify(heap)

    def follow(self) -> None:
        """Rank anew what was touched since: once, however often, or a place would be its own second best."""
        touched = self._room.touched
        for name in dict.fromkeys(touched[self._followed :]):
            if name in self._free and name in self._room.free:
                place = self._free[name]
                if self._enter(place):
                    heap = self._heaps[self._group(place)]
                    heappush(heap, heap.pop())
        self._followed = len(touched)

    def first(self, sides: Container[bool], but: Container[_Group]) -> tuple[_Group, _Ranked] | None:
        """The best place of these sides with its group, some groups left aside."""
        best: tuple[_Group, _Ranked] | None = None
        for group, heap in self._heaps.items():
            if group[1] in sides and group not in but:
                self._drop_stale(heap)
                if heap and (best is None or heap[0] < best[1]):
                    best = group, heap[0]
        return best

    def pop(self, group: _Group) -> _Ranked:
        """Take the first place of a group out."""
        return heappop(self._heaps[group])

    def push(self, group: _Group, ranked: _Ranked) -> None:
        """Put a place back."""
        heappush(self._heaps[group], ranked)

    def _group(self, place: Place) -> _Group:
        return place.device_model, place.node == self._task.prefer_node

    def _drop_stale(self, heap: list[_Ranked]) -> None:
        free, stamps = self._room.free, self._room.stamps
        while heap and (_name(heap[0]) not in free or stamps.get(_name(heap[0]), 0) != heap[0][-1]):
            heappop(heap)

    def _enter(self, place: Place) -> bool:
        """Put a place at the end of its heap, if the task can have it."""
        task, room = self._task, self._room
        if not room.can_hold(place, task) or not self._allows(place, task):
            return False
        alike = room.alike(place)
        rank = self._ranks.get(alike)
        if rank is None:
            rank = self._ranks[alike] = rate_place(place, task, room, self._expectations)[1:-1]
        self._heaps.setdefault(self._group(place), []).append((*rank, place.id, room.stamps.get(place.id, 0)))
        return True


def _name(ranked: _Ranked) -> SlotId:
    return ranked[-2]


def _explain_choice(best: Sequence[_Ranked]) -> str:
    """Explain the best place: its own merit, or its difference from the second best."""
    if not best[0][0]:
        return _REASONS[1]
    if len(best) == 1:
        return "only slot free"
    return next(reason for reason, first, second in zip(_REASONS[1:], *best, strict=False) if first != second)
