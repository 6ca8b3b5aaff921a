"""When a GPU is given to programs outside of Corral, and when it comes back; a pure function of what was seen.

A GPU yields while a program or a user that its rule names uses it, while all others together compute more than the rule
allows, or because a user said so. It comes back when none of that was seen for the rule's `quiet` time, or when the
time that the user gave is over. A look that shows nothing (the GPU does not answer) changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from corral.cluster.yields import OthersUse, YieldTo
from corral.slots.device_use import DeviceUse, Program, describe_programs, is_step


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """A GPU that a user gave to other programs by hand."""

    by: str
    since: datetime
    until: datetime | None = None
    """None is until the user takes it back."""
    at_once: bool = False
    """Whether tasks are interrupted rather than awaited."""

    @property
    def to(self) -> str:
        """For people: `programs of ada, by hand`."""
        return f"programs of {self.by}, by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Yielding:
    """A GPU that is given to other programs now."""

    programs: tuple[Program, ...] = ()
    """Those that have it; none where it is unknown, or given by hand."""
    handed_over: HandedOver | None = None
    """Where a user gave it by hand; None where its rule did."""
    since: datetime
    seen_at: datetime
    """When the reason for it was seen last."""
    until: datetime | None = None
    """When it ends; None where that is not known."""
    interrupts_at: datetime | None = None
    """When tasks that still run are interrupted; None lets them end."""

    @property
    def to(self) -> str:
        """For people: `game.x86_64 (9.8 GiB)`, `programs of ada, by hand`."""
        if self.handed_over is not None:
            return self.handed_over.to
        return describe_programs(self.programs) or "programs that cannot be seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class YieldState:
    """The memory of a GPU between two looks."""

    yielding: Yielding | None = None
    busy_since: datetime | None = None
    """Since when others have computed more than the rule allows."""


def decide(
    state: YieldState,
    rule: YieldTo | None,
    use: DeviceUse | None,
    handed_over: HandedOver | None,
    *,
    now: datetime,
    is_idle: bool,
    is_lent: bool = False,
) -> YieldState:
    """Return the state after a look; `is_idle` is whether nothing of Corral's computes on the GPU.

    While it `is_lent`, programs outside of Corral have their turn there: then only programs that are named count.
    """
    if handed_over is not None and (handed_over.until is None or now < handed_over.until):
        return replace(state, yielding=yield_by_hand(handed_over, rule, now))
    if rule is None:
        return YieldState()
    before = state.yielding if state.yielding is not None and state.yielding.handed_over is None else None
    if use is None or use.problem is not None:
        return replace(state, yielding=before)
    if is_lent:
        rule = replace(rule, users=(), others=None)
    busy_since = _follow_others(state.busy_since, rule.others, use, now=now, is_idle=is_idle)
    takers = tuple(_find_takers(rule, use))
    is_taken = rule.others is not None and busy_since is not None and now - busy_since >= rule.others.lasting
    if takers or is_taken:
        yielding = _yield_to(takers or use.programs, before, rule, now, total=use.total)
        return YieldState(yielding=yielding, busy_since=busy_since)
    if before is not None and now - before.seen_at < rule.quiet:
        return YieldState(yielding=before, busy_since=busy_since)
    return YieldState(busy_since=busy_since)


def measure_others(use: DeviceUse, *, is_idle: bool) -> float | None:
    """Return the share of the time in which others compute, 0 to 1; None where that cannot be known.

    Where the driver does not report it by program, it is the whole GPU's while nothing of Corral's computes there.
    """
    if use.blind is None and all(program.busy is not None for program in use.programs):
        return min(1.0, sum(program.busy or 0.0 for program in use.programs))
    return use.busy if is_idle else None


def _follow_others(
    since: datetime | None, bound: OthersUse | None, use: DeviceUse, *, now: datetime, is_idle: bool
) -> datetime | None:
    if bound is None:
        return None
    share = measure_others(use, is_idle=is_idle)
    if share is None:  # neither a beginning nor an end
        return since
    return (since or now) if share > bound.above else None


def _find_takers(rule: YieldTo, use: DeviceUse) -> Iterator[Program]:
    names = {name.casefold() for name in rule.programs}
    for program in use.programs:
        if names & {name.casefold() for name in (program.name, *program.aliases)} or program.user in rule.users:
            yield program


def _yield_to(
    takers: tuple[Program, ...], before: Yielding | None, rule: YieldTo, now: datetime, *, total: int | None
) -> Yielding:
    """Yield to these programs; what is said of them stays while they are the same and hold about as much."""
    since = now if before is None else before.since
    if before is not None and not _differ(before.programs, takers, total):
        takers = before.programs
    return Yielding(programs=takers, since=since, seen_at=now, interrupts_at=_add(since, rule.interrupt_after))


def _differ(before: tuple[Program, ...], after: tuple[Program, ...], total: int | None) -> bool:
    sizes = [{program.name: program.memory for program in programs} for programs in (before, after)]
    return sizes[0].keys() != sizes[1].keys() or any(
        is_step(sizes[0][name], sizes[1][name], total) for name in sizes[0]
    )


def yield_by_hand(handed_over: HandedOver, rule: YieldTo | None, now: datetime) -> Yielding:
    """Return the yield of a GPU that a user gave to other programs; `rule` says how long tasks can go on."""
    patience = timedelta(0) if handed_over.at_once else rule and rule.interrupt_after
    return Yielding(
        handed_over=handed_over,
        since=handed_over.since,
        seen_at=now,
        until=handed_over.until,
        interrupts_at=_add(handed_over.since, patience),
    )


def _add(since: datetime, patience: timedelta | None) -> datetime | None:
    return None if patience is None else since + patience
