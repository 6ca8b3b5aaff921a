"""What follows from looks at this server's GPUs: memory for tasks, slots that yield, slots that close and open.

The looks come from outside (`corral.server.gpu_looks`); what they mean for slots is decided in `corral.slots`. Here the
places are changed, attempts that are in the way are stopped, and the story gets a line for each change. All of it is
called by the event loop alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

import structlog

from corral.cluster.yields import YieldTo
from corral.errors import Problem
from corral.slots.device_use import DeviceUse
from corral.slots.health import Health, judge
from corral.slots.place import PlaceState
from corral.slots.registry import Registry
from corral.slots.yielding import Yielding, YieldState, decide
from corral.tasks.alarms import Alarms
from corral.tasks.attempt_run import StopReason
from corral.tasks.device_room import DeviceRoom
from corral.tasks.energy import EnergyBook
from corral.tasks.guest_turns import Reason
from corral.tasks.picture import Picture
from corral.tasks.store import story
from corral.tasks.store.pool import Pool
from corral.units import format_duration
from corral.work import SlotId

log = structlog.get_logger()

ALARM = "slot_closed"
LOOKS_BEFORE_CLOSING = 2
"""So many looks in a row must show a problem: a driver can fail to answer a single question."""
_MOST_UNWRITTEN = 1000
"""Lines of the story that are kept while the database is away."""


class DeviceCare:
    """Keeps the places of one server in step with their devices."""

    def __init__(
        self,
        slots: Registry,
        picture: Picture,
        alarms: Alarms,
        room: DeviceRoom,
        rules: Mapping[SlotId, YieldTo],
        energy: EnergyBook,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.rules = rules
        """The cluster file's `yieldTo`, by device."""
        self.energy = energy
        self._slots = slots
        self._picture = picture
        self._alarms = alarms
        self._room = room
        self._now = now
        self._states: dict[SlotId, YieldState] = {}
        self._failures: dict[SlotId, int] = {}
        self._health: dict[SlotId, Health] = {}
        self._unwritten: list[story.Entry] = []

    @property
    def look_asked(self) -> asyncio.Event:
        """Set where a look is wanted before its time."""
        return self._room.look_asked

    async def look_at(self, device: str) -> DeviceUse | None:
        """Look again at a GPU, by the name that engines have for it; None where this server does not look at it."""
        places = [place for place in self._slots if place.device.visible == device]
        if not places or not self._room.is_watched:
            return None
        await self._room.look_again()
        return places[0].use

    @property
    def has_gpus(self) -> bool:
        """Whether a device of a place is a GPU of this machine."""
        return any(place.device.visible is not None for place in self._slots)

    # --- looks -------------------------------------------------------------------------------------------------------

    def note_look(self, uses: Mapping[str, DeviceUse], *, absent: str | None = None) -> None:
        """Take one look at the GPUs, by the name that engines have for each.

        `absent` says why GPUs that are not in it do not answer.
        """
        missing = DeviceUse(problem=absent or "the driver does not list it any more")
        seen = {
            name: uses.get(places[0].device.visible, missing)
            for name, places in self._slots.list_devices().items()
            if places[0].device.visible is not None
        }
        changed = {*self._slots.note_uses(uses), *self._note_problems(seen), *self._note_yields(seen)}
        self._room.note_look(seen)
        self.energy.note_look(seen)
        self._show(changed)

    def note_without_look(self) -> None:
        """Apply what was set by hand, and what is over, where no GPU can be looked at."""
        self._show(self._note_yields({}))

    def note_sleep(self, seconds: float) -> None:
        """Close the places of GPUs after a suspend until a look shows the GPU; their engines start anew."""
        reason = f"the machine slept for {format_duration(seconds)}, and its GPU is looked at again"
        changed: list[PlaceState] = []
        for name, places in self._slots.list_devices().items():
            if places[0].device.visible is not None:
                self._failures[name] = LOOKS_BEFORE_CLOSING
                changed += self._close(name, places, reason)
        self._room.note_sleep()
        self._show(changed)

    def _show(self, changed: Collection[PlaceState]) -> None:
        if changed:
            self._picture.update(changed)
            self._picture.wake.set()

    # --- problems ----------------------------------------------------------------------------------------------------

    def _note_problems(self, seen: Mapping[SlotId, DeviceUse]) -> list[PlaceState]:
        devices, changed = self._slots.list_devices(), list[PlaceState]()
        for name, use in seen.items():
            places = devices[name]
            self._failures[name] = 0 if use.problem is None else self._failures.get(name, 0) + 1
            if 0 < self._failures[name] < LOOKS_BEFORE_CLOSING:
                continue
            problem = use.problem or self._find_fault(name, places, use)
            if problem is None:
                changed += self._open(name, places)
            else:
                changed += self._close(name, places, f"the GPU cannot be used: {problem}")
                self._stop(name, Problem(code="attempt.device_lost", what=f"{name}: {problem}"))
        closed = {name: places[0].device_problem for name, places in devices.items() if places[0].device_problem}
        self._alarms.show(ALARM, _describe_closed(closed) if closed else None)
        return changed

    def _find_fault(self, name: SlotId, places: Sequence[PlaceState], use: DeviceUse) -> str | None:
        """Say which error of a GPU that answers keeps it closed; None where none does."""
        resumed = [place.take_resumed() for place in places]
        self._health[name] = judge(self._health.get(name, Health()), use.signs, self._now(), is_resumed=any(resumed))
        return self._health[name].fault

    def _close(self, name: SlotId, places: Sequence[PlaceState], problem: str) -> Sequence[PlaceState]:
        if places[0].device_problem == problem:
            return ()
        if places[0].device_problem is None:
            self._tell("slot_closed", device=name, reason=problem)
        for place in places:
            place.close_for(problem)
        return places

    def _open(self, name: SlotId, places: Sequence[PlaceState]) -> Sequence[PlaceState]:
        if places[0].device_problem is None:
            return ()
        self._tell("slot_opened", device=name)
        for place in places:
            place.close_for(None)
        return places

    # --- yields ------------------------------------------------------------------------------------------------------

    def _note_yields(self, seen: Mapping[SlotId, DeviceUse]) -> list[PlaceState]:
        now, changed = self._now(), list[PlaceState]()
        for name, places in self._slots.list_devices().items():
            before = self._states.get(name, YieldState())
            state = decide(
                before,
                self.rules.get(name),
                seen.get(name),
                self._picture.handed_over.get(name),
                now=now,
                is_idle=not any(place.holds for place in places),
                is_lent=any(place.is_lent for place in places),
            )
            self._states[name] = state
            self._tell_yield(name, before.yielding, state.yielding)
            changed += [place for place in places if place.yield_to(state.yielding)]
            due = state.yielding.interrupts_at if state.yielding is not None else None
            if state.yielding is not None and due is not None and due <= now:
                what = f"{name} yields to {state.yielding.to}"
                self._stop(name, Problem(code="attempt.yielded", what=what, hint="it is tried again by itself"))
        return changed

    def _tell_yield(self, device: SlotId, before: Yielding | None, after: Yielding | None) -> None:
        if before is None and after is not None:
            self._tell("slot_yields", device=device, to=after.to, since=after.since.isoformat())
        elif before is not None and after is None:
            self._tell("slot_returns", device=device, to=before.to, since=before.since.isoformat())

    def _stop(self, device: SlotId, problem: Problem) -> None:
        """Stop the attempts on a device; their tasks are tried again, and that is not counted as a failure.

        A program that has a turn there goes on to its end: it is not Corral's to stop.
        """
        for attempt in self._picture.attempts.values():
            if not attempt.goes_on_elsewhere and any(place.device.name == device for place in attempt.places):
                attempt.stop.set(StopReason.WITHDRAWN, problem)
        places = self._slots.list_devices().get(device, ())
        self._picture.end_turns(places, Reason(problem.what, problem.hint or "ask again, for another slot"))

    # --- the story ---------------------------------------------------------------------------------------------------

    def _tell(self, kind: str, **data: str) -> None:
        log.info(kind, **data)
        self._unwritten = [*self._unwritten, story.Entry(kind=kind, data=data)][-_MOST_UNWRITTEN:]

    async def write_story(self, pool: Pool) -> None:
        """Append what happened to the story. Raises: what the database raises; the next call writes it then."""
        if not self._unwritten:
            return
        entries = self._unwritten
        async with story.open_writing(pool) as writing:
            await story.append(writing, entries)
        written = {id(entry) for entry in entries}  # an equal one can have come meanwhile
        self._unwritten = [entry for entry in self._unwritten if id(entry) not in written]


def _describe_closed(problems: Mapping[SlotId, str | None]) -> Problem:
    return Problem(
        code=ALARM,
        what="; ".join(f"{name}: {problem}" for name, problem in problems.items()),
        hint="it opens by itself when the GPU answers and has had no error for a while, or by `corral slots pause` and "
        "`corral slots resume`; docs/concepts/gpus.md has the rules",
    )
