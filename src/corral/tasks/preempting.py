"""Chooses the tasks that are interrupted for a guest: of one slot, those that lose least.

Only batch tasks are, and only where `scheduling.preempt` of the cluster file allows it. They go back to the queue as
they were, before all that came later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from corral.scheduling.place_table import PlaceTable
from corral.scheduling.values import Gate, Place, Queue, QueuedTask, RunningTask
from corral.work import TaskClass


def choose_interrupted(
    choices: Iterable[QueuedTask],
    places: PlaceTable,
    queue: Queue | None,
    batch: Collection[int],
    now: datetime,
) -> tuple[int, ...]:
    """Choose tasks that leave a guest a place: one where its model is in use, else the place that loses least.

    `choices` are what the guest could do with, `batch` the tasks that can be interrupted. Empty where none helps.
    """
    options: list[tuple[bool, float, Place, tuple[int, ...]]] = []
    for guest in choices:
        pool = queue.pool if queue is not None else None
        for place in places.eligible(pool, guest.engine, guest.model).members.values():
            if not place.running or place.gate_for(guest.engine) is not Gate.OPEN:
                continue
            if place.is_among(guest.refused_slots, guest.engine) or not _can_hold(guest, place, places):
                continue
            running = [task for task in place.running if task.task in batch]
            shares = place.work == (guest.engine, guest.model)
            if shares and running:
                last = max(running, key=lambda task: task.started_at)
                options.append((False, _count_seconds(last, now), place, (last.task,)))
            elif len(running) == len(place.running):
                lost_s = sum(_count_seconds(task, now) for task in running)
                options.append((True, lost_s, place, tuple(task.task for task in running)))
    if not options:
        return ()
    return min(options, key=lambda option: (option[0], option[1], option[2].id))[3]


def _can_hold(guest: QueuedTask, place: Place, places: PlaceTable) -> bool:
    return guest.memory is None or guest.memory <= places.devices[place.device].capacity


def _count_seconds(task: RunningTask, now: datetime) -> float:
    """Seconds of work that are lost."""
    return (now - task.started_at).total_seconds()


def list_batch(tasks: Iterable[QueuedTask]) -> frozenset[int]:
    """List those of the tasks that run which can be interrupted: batch tasks of one slot."""
    return frozenset(task.id for task in tasks if task.task_class is TaskClass.BATCH and task.gpus == 1)
