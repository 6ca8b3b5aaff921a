"""Deadlines of batches: how much time is left beyond what the work needs, and when a batch must go first for it.

*Slack* is the time between when a batch could be done at the earliest, if from now on its tasks had every slot that can
run them (`estimating`), and its deadline. A batch is *urgent* while its slack is less than what it needs, and with less
than half an hour in any case; where nothing like its tasks was measured, it is urgent from the start. When the deadline
has passed there is nothing left to save, and it waits like any other.

Urgent batch tasks count as promoted (`ordering`): they go before all other batch tasks of their owner, those that must
start first before others, and share the time evenly with interactive tasks while both wait. Between owners fair share
decides as before. So a deadline costs others no more than a batch that has waited for an hour, and an owner who gives
everything a deadline gains nothing from it. In a queue whose order is fifo nothing is urgent.

A batch that waits for cheap power (`when: cheap`) starts nothing at other times while cheap hours alone are enough:
if its tasks, run in these only, would be done by the deadline less half an hour. Where they are not enough, or how long
its tasks take is unknown, it runs until they are; without a deadline it waits for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

LOOK_EVERY_S = 30.0
"""How often the end of a batch with a deadline is estimated anew."""
DeadlineId = int
"""Names what has the deadline: the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """When tasks should be done, and when they could be."""

    by: datetime
    seen_at: datetime
    """When `ready_at` was estimated."""
    ready_at: datetime | None
    """When they would be done at the earliest; None where that is unknown."""
    ready_cheap_at: datetime | None = None
    """When they would be done in the cheapest hours alone; None where that is unknown or not asked for."""

    @property
    def need(self) -> timedelta | None:
        """How long they take at least, closed hours included; None where that is unknown."""
        return None if self.ready_at is None else self.ready_at - self.seen_at

    @property
    def slack(self) -> timedelta | None:
        """How much later they could begin; below zero where the deadline cannot be met; None where that is unknown."""
        return None if self.ready_at is None else self.by - self.ready_at

    def is_urgent(self, now: datetime, least: timedelta) -> bool:
        """Whether they must go first; `least` is `PolicyBounds.deadline_slack`."""
        if now >= self.by:
            return False
        return self.slack is None or self.need is None or self.slack < max(least, self.need)

    def allows_cheap(self, now: datetime, least: timedelta) -> bool:
        """Whether they can wait for cheap hours; once the deadline has passed, there is no haste any more."""
        return now >= self.by or (self.ready_cheap_at is not None and self.ready_cheap_at <= self.by - least)

    @property
    def latest_start(self) -> datetime:
        """When they must begin at the latest; tasks of urgent batches go in this order."""
        return self.by if self.need is None else self.by - self.need


def list_urgent(
    deadlines: Mapping[DeadlineId, Deadline], now: datetime, least: timedelta
) -> dict[DeadlineId, datetime]:
    """Return the deadlines that are urgent now, with the latest start of each."""
    return {name: deadline.latest_start for name, deadline in deadlines.items() if deadline.is_urgent(now, least)}


class Verdict(StrEnum):
    """Whether a batch will be done by its deadline."""

    IN_TIME = "in_time"
    """Also if everything that waits now goes first, and without being urgent."""
    TIGHT = "tight"
    """If its tasks go first."""
    LATE = "late"
    """Not even then."""
    MET = "met"
    """All of it was done in time."""
    MISSED = "missed"
    """The deadline has passed, and some of it is not done."""
    UNKNOWN = "unknown"
    """Nothing like its tasks was measured, or no open slot runs them."""


def judge(deadline: Deadline, ready_after_all: datetime | None, now: datetime, least: timedelta) -> Verdict:
    """Judge whether a deadline is met; `ready_after_all` is when everything that waits now would be done."""
    if now >= deadline.by:
        return Verdict.MISSED
    if deadline.slack is None:
        return Verdict.UNKNOWN
    if deadline.slack < timedelta(0):
        return Verdict.LATE
    is_behind = ready_after_all is None or ready_after_all > deadline.by
    return Verdict.TIGHT if is_behind or deadline.is_urgent(now, least) else Verdict.IN_TIME
