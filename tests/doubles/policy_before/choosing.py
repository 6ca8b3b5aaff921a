"""Where a task goes when several places would do.

In order: where a lost attempt of it ran (its job may be found again), where its model is resident, where it was
measured fastest, where the fewest warm models are lost, where the least memory is left over, and the place's name, so
that the same question always has the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from corral.scheduling.durations import Expectations
from corral.scheduling.values import Place, QueuedTask
from corral.work import SlotId
from doubles.policy_before.floor import Floor, is_model_of

Choice = tuple[bool, bool, float, float, int, float, SlotId]

_REASONS = (
    "lost attempt ran here",
    "model resident",
    "fastest measured",
    "cheapest models given up",
    "fewest models given up",
    "least memory left over",
    "first of alike slots",
)
"""What decided, by the position in `Choice` where the best and the second best differ."""


def is_resident(place: Place, task: QueuedTask) -> bool:
    """Whether the task's model is in the place's memory."""
    return any(is_model_of(resident, task) for resident in place.resident)


def choice_of(place: Place, task: QueuedTask, floor: Floor, expectations: Expectations) -> Choice:
    """Sort key of a place for a task; the lowest is the best."""
    measured = expectations.measured(task, place.device_model)
    evicted, load = floor.evictions(place, task)
    lost = [resident for _, resident in evicted]
    lost += [
        resident
        for resident in place.resident
        if resident.engine == task.engine and not is_model_of(resident, task) and (place.id, resident) not in evicted
    ]
    return (
        place.id != task.prefer_slot,
        not is_resident(place, task),
        inf if measured is None else measured,
        sum(map(floor.losses.find_seconds, lost)),
        len(lost),
        floor.room(place) - load,
        place.id,
    )


def best_place(
    options: Sequence[Place], task: QueuedTask, floor: Floor, expectations: Expectations
) -> tuple[Place, str]:
    """Choose among free places that the task fits (at least one), and say why in a few words."""
    if len(options) == 1:
        return options[0], _why_alone(options[0], task)
    ranked = sorted((choice_of(place, task, floor, expectations), place.id, place) for place in options)
    return ranked[0][2], _why_before(ranked[0][0], ranked[1][0])


def _why_alone(place: Place, task: QueuedTask) -> str:
    """What speaks for the only place."""
    if place.id == task.prefer_slot:
        return _REASONS[0]
    return _REASONS[1] if is_resident(place, task) else "only slot free"


def _why_before(best: Choice, second: Choice) -> str:
    """What set the best place apart from the second best."""
    if not best[0]:
        return _REASONS[0]
    if not best[1]:
        return _REASONS[1]
    return next(reason for reason, value, other in zip(_REASONS, best, second, strict=True) if value != other)
