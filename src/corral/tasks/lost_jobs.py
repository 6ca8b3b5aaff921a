"""Jobs of lost attempts on servers elsewhere: wanted until their task runs again or has ended, and ended then.

A server that is killed leaves the jobs that it sent to instances running there. Their tasks go back where these run
(`picture.place_returning`), and the engine takes the job over. A task that cannot, because the instance is away or
busy, starts elsewhere: then the job would be done for nothing when the instance is back.
"""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

from corral.slots.place import PlaceState
from corral.slots.registry import Registry
from corral.work import SlotId


class LostJobs:
    """The jobs that can still run, by task; one task owns it, the dispatcher's loop."""

    def __init__(self, slots: Registry) -> None:
        self._slots = slots
        self._jobs: defaultdict[int, dict[UUID, SlotId]] = defaultdict(dict)

    def note(self, task: int, attempt: UUID, slot: SlotId) -> None:
        """Keep in mind that an attempt was lost on a slot."""
        self._jobs[task][attempt] = slot

    def settle(self, task: int, taken_by: PlaceState | None) -> None:
        """End the task's jobs but those of the place that it runs on now; None when it has ended."""
        for attempt, slot in self._jobs.pop(task, {}).items():
            place = self._slots.find(slot)
            if place is not None and place is not taken_by:
                place.abandon(slot, attempt, task)
