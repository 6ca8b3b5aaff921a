"""What each workload makes in a night by itself: played forward with the policy that the queue runs on.

A workload runs where its service has a seat in the plan; one that only takes turns has the card to itself while it
does. Without a service, every card that has the memory is its own. The night is filled: as many tasks wait from its
start as could ever end in it, unless the file says how many are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from corral.cluster.values import Cluster, Workload
from corral.figures import Figure, computed
from corral.planning.placement.values import Plan
from corral.planning.upgrade.cards import Card, all_cards
from corral.planning.upgrade.differences import Difference, number
from corral.planning.upgrade.throughput import Throughput
from corral.scheduling.simulator import simulate
from corral.scheduling.simulator.values import Arrival, Load, Span, Trace
from corral.scheduling.values import Owner, Slot
from corral.work import SlotId

_OTHERS = "*"
_OWNER = Owner("night")
_LEAST_S = 1e-3
OPENING_S = 600
"""Seconds of a night that charts and timelines show."""
_MOST_SPANS = 400
_MOST_TASKS = 5_000
"""A night with more tasks than this is played for a part of it only, and counted up; this many took 1 s."""
_MOST_CARDS = 8


@dataclass(frozen=True, slots=True)
class Situated:
    """A cluster and its plans."""

    cluster: Cluster
    plans: tuple[Plan, ...]


def compare_nights(before: Situated, unadapted: Situated, after: Situated) -> tuple[Throughput, ...]:
    """Play a night of every workload, before, after with the cards alone, and after with the proposals."""
    names = [
        *after.cluster.workloads,
        *(name for name in before.cluster.workloads if name not in after.cluster.workloads),
    ]
    return tuple(_throughput(name, before, unadapted, after) for name in names)


def _throughput(name: str, before: Situated, unadapted: Situated, after: Situated) -> Throughput:
    first, second, third = _play_each([_asked(one, name) for one in (before, unadapted, after)])
    workload = after.cluster.workloads.get(name) or before.cluster.workloads[name]
    return Throughput(
        workload=name,
        unit=workload.unit,
        per_hour=Difference(
            name=f"{name} in an hour",
            before=_per_hour(first.made, before.cluster),
            after=_per_hour(third.made, after.cluster),
        ),
        per_night=Difference(name=f"{name} in a night", before=first.made, after=third.made),
        unadapted=second.made,
        opening_before=first.opening,
        opening_after=third.opening,
    )


@dataclass(frozen=True, slots=True)
class _Night:
    """What is to be played."""

    workload: Workload
    cards: tuple[Card, ...]
    seconds: tuple[float, ...]
    """How long a task takes on each card."""
    length_s: float


@dataclass(frozen=True, slots=True)
class _Play:
    """What a night makes, and how it begins; None when nobody knows how long its tasks take."""

    made: Figure | None
    opening: tuple[Span, ...] = ()


def _asked(situated: Situated, name: str) -> _Night | None:
    """Describe a workload's night; None when the workload is not there, or a duration is unknown."""
    workload = situated.cluster.workloads.get(name)
    if workload is None or not workload.seconds:
        return None
    cards = _cards(situated, workload)
    seconds = [each for card in cards if (each := _seconds(workload, card)) is not None]
    if len(seconds) < len(cards):
        return None
    return _Night(workload, tuple(cards), tuple(seconds), situated.cluster.night.total_seconds())


def _play_each(nights: Sequence[_Night | None]) -> list[_Play]:
    """Play nights; equal ones once."""
    plays: list[_Play] = []
    for place, night in enumerate(nights):
        earlier = nights.index(night)
        plays.append(plays[earlier] if earlier < place else _play(night))
    return plays


def _play(night: _Night | None) -> _Play:
    if night is None:
        return _Play(None)
    unit = f"{night.workload.unit}s"
    if not night.cards:
        return _Play(computed(0, unit, "no card that its service has, or could have a turn on"))
    count, spans = _played(night)
    opening = tuple(span for span in spans if span.from_s < OPENING_S)[:_MOST_SPANS]
    return _Play(computed(count, unit, _told(night)), opening)


def _told(night: _Night) -> str:
    each = [f"{card.name} {seconds:g} s" for card, seconds in zip(night.cards, night.seconds, strict=True)]
    shown = each if len(each) <= _MOST_CARDS else [*each[:_MOST_CARDS], f"{len(each) - _MOST_CARDS} more GPUs"]
    hours = f"{night.length_s / 3600:g} h"
    return f"simulated {hours} with the production policy: {', '.join(shown)}{_loading(night.workload)}"


def _per_hour(made: Figure | None, cluster: Cluster) -> Figure | None:
    if made is None:
        return None
    hours = cluster.night.total_seconds() / 3600
    return computed(made.value / hours, f"{made.unit}/h", f"{number(made.value)} in a night / {hours:g} h")


def _loading(workload: Workload) -> str:
    return f", loading {workload.load_s:g} s" if workload.load_s else ""


def _seconds(workload: Workload, card: Card) -> float | None:
    exact = workload.seconds.get(card.model or "")
    return workload.seconds.get(_OTHERS) if exact is None else exact


def _cards(situated: Situated, workload: Workload) -> list[Card]:
    cards = {card.name: card for card in all_cards(situated.cluster)}
    if workload.service is None:
        return [card for card in cards.values() if _does(workload, card)]
    return [cards[name] for name in _seats(situated.plans, workload.service) if name in cards]


def _does(workload: Workload, card: Card) -> bool:
    if workload.prefer_node is not None and card.node != workload.prefer_node:
        return False
    return workload.min_vram is None or (card.memory is not None and card.memory >= workload.min_vram)


def _seats(plans: Sequence[Plan], service: str) -> list[str]:
    """List the cards of a service: one for each replica, from the first plan that has a place or a turn for it."""
    for plan in plans:
        placed = [
            f"{one.node}/gpu{one.gpus[0]}" for one in plan.placed if service in one.services and one.node and one.gpus
        ]
        waiting = [one for one in plan.unplaced if service in one.services and one.takes_turns]
        turns = [card for card in (waiting[0].turns if waiting else ()) if card not in placed]
        seats = placed + turns[: len(waiting)]
        if seats:
            return list(dict.fromkeys(seats))
    return []


def _played(night: _Night) -> tuple[int, tuple[Span, ...]]:
    """Play a night, or the part of it that is short enough, and count the tasks that end in it."""
    most = sum(ceil(night.length_s / max(each, _LEAST_S)) for each in night.seconds)
    wanted = most if night.workload.per_night is None else min(most, night.workload.per_night)
    part = min(1.0, _MOST_TASKS / wanted) if wanted else 1.0
    run = simulate(_trace(night.workload, night.cards, ceil(wanted * part)))
    ended = sum(span.until_s <= night.length_s * part for span in run.spans if not span.lost)
    return min(wanted, round(ended / part)), run.spans


def _trace(workload: Workload, cards: Sequence[Card], count: int) -> Trace:
    arrivals = tuple(
        Arrival(
            id=place + 1,
            at_s=0,
            owner=_OWNER,
            engine=workload.engine,
            model=workload.model,
            seconds=workload.seconds,
            memory=workload.min_vram,
        )
        for place in range(count)
    )
    load = Load(engine=workload.engine, model=workload.model, seconds=workload.load_s or 0, memory=workload.min_vram)
    return Trace(arrivals=arrivals, slots=tuple(_slot(workload, card) for card in cards), loads=(load,))


def _slot(workload: Workload, card: Card) -> Slot:
    return Slot(
        id=SlotId(card.name),
        node=card.node,
        device=card.name,
        device_model=card.model or "unknown",
        capacity=card.memory,
        engines=frozenset({workload.engine}),
    )
