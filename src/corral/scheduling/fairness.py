"""Fair share between owners: start-time fair queuing, charged in expected slot-seconds.

Where tasks compute on one processor at the same time, each is charged its part of the seconds once it has ended
(`processor_time`): who shares a GPU pays for what they had of it.

Each owner has a tag: the virtual seconds charged so far. The owner with the lowest tag goes first. Virtual time
follows the lowest tag among those who compete, and no owner starts below it: an owner who was away, or whose queue was
paused, brings no credit. An owner whose tag is not above virtual time is forgotten, so the state holds at most the
owners who had more than their share lately. (Goyal, Vin, Cheng, "Start-time Fair Queuing", 1996; virtual time as the
lowest tag follows the Linux scheduler's min_vruntime.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from corral.scheduling.values import FairShare, Owner

PROMOTED_LAG_S = 30.0
"""Slot-seconds by which promoted tasks can be behind before a person waits for one: a few short requests in a row."""

MOST_OWNERS = 1024
"""Owners remembered at once; a stream of newcomers, each with one task, would otherwise never be forgotten."""


def tag(fair: FairShare, owner: Owner) -> float:
    """Return where an owner's next task starts, in virtual seconds; the lowest goes first."""
    return max(fair.virtual_time, fair.charged.get(owner, 0.0))


def settle(fair: FairShare, owner: Owner, expected_s: float, measured_s: float) -> FairShare:
    """Correct a charge when the attempt has ended; both in slot-seconds (seconds times places held).

    An owner already forgotten owes only what was measured above the charge: credit is never banked.
    """
    corrected = tag(fair, owner) + measured_s - expected_s
    return _close({**fair.charged, owner: corrected}, fair.virtual_time, fair.promoted_lead)


class Account:
    """The fair share while one decision charges it; `closed` gives the state for the next one."""

    __slots__ = ("_before", "_promoted_lead", "_tags", "_virtual_time")

    def __init__(self, fair: FairShare) -> None:
        self._before = fair
        self._virtual_time = fair.virtual_time
        self._promoted_lead = fair.promoted_lead
        self._tags: dict[Owner, float] = {}

    def tag(self, owner: Owner) -> float:
        """The owner's tag with what this decision has charged."""
        charged = self._tags.get(owner)
        if charged is None:
            charged = self._tags[owner] = tag(self._before, owner)
        return charged

    def charge(self, owner: Owner, slot_seconds: float) -> None:
        """Charge an owner for a task that starts."""
        self._tags[owner] = self.tag(owner) + slot_seconds

    def advance(self, competing: Iterable[Owner]) -> None:
        """Move virtual time to the lowest tag among owners who compete; call before the first charge."""
        self._virtual_time = max(self._virtual_time, min(map(self.tag, competing), default=0.0))

    @property
    def promoted_may_go(self) -> bool:
        """Whether a promoted task goes before an interactive one: they share the places evenly, interactive first.

        The lead changes while both wait for the same places, so promoted tasks are never ahead by more than one of
        them, nor behind by more than an interactive one and `PROMOTED_LAG_S`.
        """
        return self._promoted_lead < -PROMOTED_LAG_S

    def note_turn(self, lead: float) -> None:
        """Record slot-seconds given to a promoted task, or (negative) to an interactive one, while both waited."""
        self._promoted_lead += lead

    def note_undisputed(self, slot_seconds: float) -> None:
        """Record slot-seconds given to promoted tasks while nothing interactive waited; they only make up for a lag."""
        if self._promoted_lead < 0:
            self._promoted_lead = min(0.0, self._promoted_lead + slot_seconds)

    def closed(self) -> FairShare:
        """The state after this decision."""
        return _close({**self._before.charged, **self._tags}, self._virtual_time, self._promoted_lead)


def _close(charged: Mapping[Owner, float], virtual_time: float, promoted_lead: float) -> FairShare:
    """Forget owners who owe nothing; past `MOST_OWNERS`, virtual time moves up to those who owe least."""
    surplus = len(charged) - MOST_OWNERS
    if surplus > 0:
        virtual_time = max(virtual_time, sorted(charged.values())[surplus - 1])
    kept = {owner: seconds for owner, seconds in charged.items() if seconds > virtual_time}
    return FairShare(virtual_time=virtual_time, charged=kept, promoted_lead=promoted_lead)
