"""The GPUs of each service when a whole layout runs: the plan before and the plan after."""

from __future__ import annotations

from dataclasses import dataclass

from corral.planning.placement.values import Caution, Placed, Plan, Unplaced


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLocations:
    """One service that needs GPUs, in one layout; each text says where its replicas are, or why they are nowhere."""

    service: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One layout; None is the services as they stand."""

    layout: str | None
    seats: tuple[ServiceLocations, ...]
    lost: tuple[str, ...]
    """Services that had a place or a turn before, and have neither now."""
    gained: tuple[str, ...]
    """Services that had neither before, and have a place or a turn now."""
    moved: tuple[str, ...]
    """Services of both that have other GPUs now, or others to take turns on."""
    settled: tuple[Caution, ...]
    """Warnings of the plan before that are gone after."""
    arisen: tuple[Caution, ...]
    """Warnings of the plan after that were not there before."""


def compare_plans(before: tuple[Plan, ...], after: tuple[Plan, ...]) -> tuple[Distribution, ...]:
    """Set the plans of each layout side by side, in the order of the layouts after the upgrade."""
    old = {plan.layout: plan for plan in before}
    return tuple(_compare(old.get(plan.layout), plan) for plan in after)


def _compare(before: Plan | None, after: Plan) -> Distribution:
    old, new = _write_texts(before), _write_texts(after)
    names = [*new, *(name for name in old if name not in new)]
    return Distribution(
        layout=after.layout,
        seats=tuple(
            ServiceLocations(service=name, before=old.get(name, "-"), after=new.get(name, "-")) for name in names
        ),
        lost=_list_newly_missing(after, before),
        gained=_list_newly_missing(before, after),
        moved=_list_moved(before, after),
        settled=_list_only_in(before.cautions if before else (), after.cautions),
        arisen=_list_only_in(after.cautions, before.cautions if before else ()),
    )


def _list_newly_missing(here: Plan | None, there: Plan | None) -> tuple[str, ...]:
    """List the services without place and turn in one plan of which the other knows, and places all replicas."""
    missing = [name for replica in (here.missing if here else ()) for name in replica.services]
    elsewhere = {name for replica in (there.missing if there else ()) for name in replica.services}
    known = {name for replica in (*there.placed, *there.unplaced) for name in replica.services} if there else set[str]()
    return tuple(dict.fromkeys(name for name in missing if name in known - elsewhere))


def _list_moved(before: Plan | None, after: Plan) -> tuple[str, ...]:
    old, new = _map_gpus(before), _map_gpus(after)
    return tuple(name for name, gpus in new.items() if name in old and old[name] != gpus)


def _map_gpus(plan: Plan | None) -> dict[str, list[tuple[bool, tuple[str, ...]]]]:
    """Say for each replica of a service whether its GPUs are its own, and which they are."""
    if plan is None:
        return {}
    gpus: dict[str, list[tuple[bool, tuple[str, ...]]]] = {}
    for placed in plan.placed:
        for name in placed.services:
            own = tuple(f"{placed.node}/gpu{index}" for index in placed.gpus)
            gpus.setdefault(name, []).append((bool(own), own))
    for unplaced in plan.unplaced:
        for name in unplaced.services:
            gpus.setdefault(name, []).append((False, tuple(unplaced.turns)))
    return {name: sorted(replicas) for name, replicas in gpus.items()}


def _list_only_in(here: tuple[Caution, ...], there: tuple[Caution, ...]) -> tuple[Caution, ...]:
    known = {(caution.pitfall, caution.where) for caution in there}
    return tuple(caution for caution in here if (caution.pitfall, caution.where) not in known)


def _write_texts(plan: Plan | None) -> dict[str, str]:
    if plan is None:
        return {}
    texts: dict[str, list[str]] = {}
    for placed in plan.placed:
        if placed.gpus:
            texts.setdefault(placed.demand, []).append(_write_location(placed))
    for unplaced in plan.unplaced:
        if any(refusal.gpu is not None for refusal in unplaced.refusals):
            texts.setdefault(unplaced.demand, []).append(_write_refusal(unplaced))
    return {name: "; ".join(dict.fromkeys(parts)) for name, parts in texts.items()}


def _write_location(placed: Placed) -> str:
    return ", ".join(f"{placed.node}/gpu{index}" for index in placed.gpus)


def _write_refusal(unplaced: Unplaced) -> str:
    if unplaced.takes_turns:
        return f"takes turns on {', '.join(unplaced.turns)} with {', '.join(unplaced.turns_with)}"
    return "no place"
