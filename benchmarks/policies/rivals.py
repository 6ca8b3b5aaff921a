"""FIFO, random, llama-swap and InvokeAI, each as a policy; what `docs/concepts/policies.md` says of them is tested.

Written from descriptions of their rules in mid-2026, without their code. Where a rule says nothing about several
equal cards, the rival gets the reading that is better for it.
"""

from __future__ import annotations

from random import Random

from benchmarks.policies.seats import Seats, by_age, holds, rank
from corral.scheduling.values import Decision, Owner, Place, QueuedTask, Snapshot

AFFINITY_IDS = 32
"""How far InvokeAI looks for a task whose model is on the card."""


def fifo(snapshot: Snapshot) -> Decision:
    """The oldest task first, on the first free place; none goes before it, even if it must wait for several places."""
    seats = Seats(snapshot)
    for task in by_age(snapshot):
        if not seats.free:
            break
        if not seats.seat(task) and any(seats.may_use(task, place) for place in seats.places):
            break
    return seats.decision()


class RandomChoice:
    """Any waiting task on any place that it can use."""

    def __init__(self, seed: int = 7) -> None:
        self._chance = Random(seed)

    def __call__(self, snapshot: Snapshot) -> Decision:
        seats = Seats(snapshot)
        tasks = by_age(snapshot)
        self._chance.shuffle(tasks)
        for task in tasks:
            options = seats.options(task)
            if options:
                seats.seat(task, self._chance.choice(options))
        return seats.decision()


def llama_swap(snapshot: Snapshot) -> Decision:
    """A task whose model is ready goes at once; only a place that nobody waits for as it is gets the first in line.

    The line goes by the model's fixed priority, then by age, and does not age: A B C A B C becomes A A B B C C, and a
    stream to a ready model keeps the others out. A model that is ready on no free place waits. Each place may have its
    own copy of a model, as if the operator had configured one per GPU.
    """
    seats = Seats(snapshot)
    tasks = sorted(by_age(snapshot), key=rank)
    for task in tasks:
        ready = next((place for place in seats.options(task) if task.gpus == 1 and holds(place, task)), None)
        if ready is not None:
            seats.seat(task, ready)
    for task in tasks:
        if task.id not in seats.seated:
            empty = next((place for place in seats.options(task) if not place.resident), None)
            seats.seat(task, empty)
    return seats.decision()


class InvokeAI:
    """One worker per card takes the first task by priority and age, or of each user in turn.

    It may then take another of the same user and priority instead, whose number is at most 32 higher and whose model
    is on the card. There is no bound in time.
    """

    def __init__(self, *, users: str = "together") -> None:
        """`users` is `together` (one line) or `in turn` (round-robin)."""
        self._in_turn = users == "in turn"
        self._served: dict[Owner, int] = {}
        self._turn = 0

    def __call__(self, snapshot: Snapshot) -> Decision:
        seats = Seats(snapshot)
        tasks = sorted(by_age(snapshot), key=rank)
        for place in list(seats.free.values()):
            if place.id in seats.free:
                self._dequeue(seats, place, [task for task in tasks if task.id not in seats.seated])
        return seats.decision()

    def _dequeue(self, seats: Seats, place: Place, tasks: list[QueuedTask]) -> None:
        possible = [task for task in tasks if place in seats.options(task)]
        if not possible:
            return
        first = min(possible, key=lambda task: (self._served.get(task.owner, 0) if self._in_turn else 0, rank(task)))
        chosen = self._with_model_here(first, possible, place)
        if seats.seat(chosen, place):
            self._turn += 1
            self._served[chosen.owner] = self._turn

    @staticmethod
    def _with_model_here(first: QueuedTask, possible: list[QueuedTask], place: Place) -> QueuedTask:
        if holds(place, first):
            return first
        like = (first.owner, rank(first))
        return next(
            (
                task
                for task in possible
                if (task.owner, rank(task)) == like and 0 < task.id - first.id <= AFFINITY_IDS and holds(place, task)
            ),
            first,
        )
