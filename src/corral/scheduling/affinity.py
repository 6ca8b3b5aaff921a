"""Lets a task whose model is resident go before others, within a window, and for a bounded time.

Loading a model can take longer than the work, so A B A B is better run as A A B B. llama-swap reorders so without a
bound, and a stream to the resident model starves the others; InvokeAI looks 32 tasks ahead and has no bound in time.
Here a task is passed over only while everything that passes it is expected to end within `Settings.affinity_delay` of
the first time, and only by tasks of its own class and priority. Promoted tasks and tasks that need several GPUs are
never passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from corral.scheduling.choosing import is_resident
from corral.scheduling.durations import Expectations
from corral.scheduling.floor import Floor
from corral.scheduling.ordering import Line
from corral.scheduling.reservation import Reservations
from corral.scheduling.values import QueuedTask, Settings, Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A task that goes before others on one slot."""

    task: QueuedTask
    passed: tuple[int, ...]
    """Tasks that could have had the slot and went first but for this."""


class Affinity:
    """Looks for tasks whose model is resident, over one decision."""

    def __init__(
        self,
        *,
        floor: Floor,
        expectations: Expectations,
        reservations: Reservations,
        settings: Settings,
        passed_since: Mapping[int, datetime],
    ) -> None:
        self._floor = floor
        self._expectations = expectations
        self._reservations = reservations
        self._settings = settings
        self._delay = settings.affinity_delay
        self._passed_since = passed_since

    def look_ahead(self, line: Line, head: QueuedTask, slot: Slot) -> Pass | None:
        """Find a task behind the head that should have the slot, because its model is there and the head's is not."""
        if not slot.resident or not line.may_pass_head or is_resident(slot, head) or head.prefer_slot == slot.id:
            return None
        models = {(resident.engine, resident.model) for resident in slot.resident}
        if not line.is_wanted(models):
            return None
        passed: list[int] = []
        latest = timedelta.max
        for task in line.behind_head(self._settings.affinity_window, lambda each: self._seconds(each, slot)):
            if not self._may_have(task, slot):
                continue
            if task.gpus > 1:
                return None
            if (task.engine, task.model) in models and self._takes(task, slot) <= latest:
                return Pass(task=task, passed=tuple(passed))
            passed.append(task.id)
            latest = min(latest, self._left(task))
        return None

    def _left(self, task: QueuedTask) -> timedelta:
        """How much longer the task may be passed over."""
        return self._passed_since.get(task.id, self._floor.now) + self._delay - self._floor.now

    def _takes(self, task: QueuedTask, slot: Slot) -> timedelta:
        return timedelta(seconds=self._seconds(task, slot))

    def _seconds(self, task: QueuedTask, slot: Slot) -> float:
        return self._expectations.of(task, slot.device_model)

    def _may_have(self, task: QueuedTask, slot: Slot) -> bool:
        """Whether the slot could be given to the task now; with others, if it needs several."""
        if task.gpus > 1:
            return slot in self._floor.able(task.queue, task.engine)
        return (
            not self._floor.is_limited(task)
            and any(option.id == slot.id for option in self._floor.options(task))
            and self._reservations.allows(slot, self._seconds(task, slot))
        )
