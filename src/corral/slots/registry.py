"""All places of a server: added, changed and removed while it runs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from corral.scheduling.place_table import count_accounted
from corral.scheduling.values import Gate, Place
from corral.slots.closing import close_engines
from corral.slots.device_use import DeviceUse
from corral.slots.place import PlaceState
from corral.slots.values import Difference, Hold, PlaceView, SlotSpec, Wanted, compare, find_gate
from corral.units import Bytes
from corral.work import Engine, SlotId, device_of

CHECK_TICK_S = 0.5
"""How often the registry looks whether a check is due."""


class Registry:
    """All places, by id; one task owns it (the dispatcher's loop)."""

    def __init__(self, wanted: Wanted = Wanted()) -> None:  # noqa: B008 (a frozen value)
        self._places: dict[SlotId, PlaceState] = {}
        self._wanted = Wanted()
        self._gates: Mapping[SlotId, Gate] = {}
        self._trouble: str | None = None
        self._retired: list[Engine] = []
        """Engines of places that are gone, still to be closed."""
        self._changed: Callable[[PlaceState], None] = lambda _: None
        self.apply(self.compare(wanted))

    def __getitem__(self, place: SlotId) -> PlaceState:
        return self._places[place]

    def __iter__(self) -> Iterator[PlaceState]:
        return iter(self._places.values())

    def __len__(self) -> int:
        return len(self._places)

    def get(self, place: SlotId) -> PlaceState | None:
        """Return a place; None when it is gone."""
        return self._places.get(place)

    def find(self, slot: SlotId) -> PlaceState | None:
        """Find the place of a slot, or the place that goes by this name; None when it is gone."""
        return self._places.get(slot) or next((place for place in self if slot in place.names), None)

    # --- coming and going --------------------------------------------------------------------------------------------

    @property
    def wanted(self) -> Wanted:
        """The devices and slots that were applied last; some of them can wait for the end of a hold."""
        return self._wanted

    def compare(self, wanted: Wanted) -> Difference:
        """Return what `apply` would do, without doing it."""
        difference = compare(self._wanted, wanted)
        touched = (*difference.removed, *(change.before for change in difference.changed))
        held = {slot.id: str(self._places[slot.place].holds[0]) for slot in touched if self._is_held(slot.place)}
        holding = {place.device.name: str(place.holds[0]) for place in self if place.holds}
        edited = {change.before.name for change in difference.devices}
        held |= {name: hold for name, hold in holding.items() if name in edited}
        listed = {slot.id for slot in touched} | edited
        pending = (change for place in self for change in place.list_pending(wanted))
        return replace(difference, held=held, pending=tuple(change for change in pending if change.name not in listed))

    def apply(self, difference: Difference) -> None:
        """Make true what is wanted: at once, or for what is held when its last hold ends.

        Every engine is made before anything changes, so that one that cannot be made leaves everything as it was.
        """
        wanted = difference.wanted
        # What other programs hold was measured before our own models were in memory: that figure stays.
        foreign = {place.device.provider: place.device.foreign for place in self}
        devices = {
            device.name: replace(device, foreign=foreign.get(device.provider, device.foreign))
            for device in wanted.devices
        }
        slots: defaultdict[SlotId, list[SlotSpec]] = defaultdict(list)
        for slot in wanted.slots:
            slots[slot.place].append(slot)
        places = {
            id: self._places.get(id) or PlaceState(id, devices[members[0].device]) for id, members in slots.items()
        }
        states = {id: place.prepare(slots[id]) for id, place in places.items()}
        neighbours = {place.device.name: place for place in self}
        for id, place in (self._places | places).items():
            if id not in self._places and place.device.name in neighbours:
                place.join(neighbours[place.device.name])
            self._places[id] = place
            place.set_wanted(devices[slots[id][0].device] if id in slots else place.device, states.get(id, ()))
            place.set_gates(self._find_gate)
            place.trouble = self._trouble
            self._drop_if_gone(place)
        self._wanted = wanted
        self._note_leaving()

    def _note_leaving(self) -> list[PlaceState]:
        """Keep places closed whose GPU or server is held under another name; return those for which that changed."""
        leaving = [(place, str(place.holds[0])) for place in self if place.holds and place.is_changing]
        changed: list[PlaceState] = []
        for place in self:
            holders = (hold for other, hold in leaving if other is not place and other.occupies & place.occupies)
            holder = next(holders, None)
            if holder != place.held_by_leaving:
                place.held_by_leaving = holder
                changed.append(place)
        return changed

    def _is_held(self, place: SlotId) -> bool:
        return place in self._places and bool(self._places[place].holds)

    def _drop_if_gone(self, place: PlaceState) -> None:
        if place.is_gone and self._places.get(place.id) is place:
            self._retired += place.take_retired()
            del self._places[place.id]

    # --- holds -------------------------------------------------------------------------------------------------------

    def release(self, places: Iterable[PlaceState], hold: Hold) -> None:
        """End a hold on places; a place that leaves is dropped with its last hold."""
        for place in places:
            place.release(hold)
            self._drop_if_gone(place)

    def note_gates(self, gates: Mapping[SlotId, Gate]) -> None:
        """Set the gates of slots and devices, also for slots that come later; every other one is open."""
        self._gates = gates
        for place in self:
            place.set_gates(self._find_gate)

    def _find_gate(self, slot: SlotSpec) -> Gate:
        return find_gate(slot, self._gates)

    def note_elsewhere(self, holders: Mapping[SlotId, str]) -> None:
        """Note who holds which slots for other servers, by the name of the slot or its place.

        A slot that is unknown here holds its device: the other server can have another cluster file.
        """
        known = {name for place in self for name in (place.id, *place.names)}
        on_device = {device_of(name): label for name, label in holders.items() if name not in known}
        for place in self:
            names = (place.id, *place.names)
            label = next((holders[name] for name in names if name in holders), None)
            place.held_elsewhere = label or on_device.get(place.device.name)

    def note_trouble(self, trouble: str | None) -> None:
        """Close every place of this server, for that reason; None opens them again."""
        self._trouble = trouble
        for place in self:
            place.trouble = trouble

    # --- devices -----------------------------------------------------------------------------------------------------

    def list_devices(self) -> dict[SlotId, list[PlaceState]]:
        """Return the places of each device, by its name."""
        devices: dict[SlotId, list[PlaceState]] = defaultdict(list)
        for place in self:
            devices[place.device.name].append(place)
        return devices

    def note_uses(self, uses: Mapping[str, DeviceUse]) -> list[PlaceState]:
        """Note looks at devices, by the name that engines have for each; return places whose memory changed by a step.

        While something of Corral's runs on a device whose processes cannot be distinguished, what others held before
        stands: what is used would be taken for theirs. The same holds for a device that is lent as a whole; of one that
        is lent in part, that part is the holder's.
        """
        changed: list[PlaceState] = []
        for places in self.list_devices().values():
            use = uses.get(places[0].device.visible or "")
            if use is None or use.problem is not None:
                continue
            reported = [place.count_reported(use.located) for place in places]
            foreign = use.measure_foreign(
                sum(hidden for hidden, _ in reported), all_reported=sum(size for _, size in reported)
            )
            lent = [running.memory for place in places if place.is_lent for running in place.running]
            if (use.own is None and any(place.holds for place in places)) or None in lent:
                foreign = places[0].device.foreign
            elif foreign is not None:
                foreign = Bytes(max(0, foreign - sum(size or 0 for size in lent)))
            excess = _measure_excess(use, [place.to_place() for place in places])
            changed += [
                place for number, place in enumerate(places) if place.note_look(use, foreign, 0 if number else excess)
            ]
        return changed

    # --- facts -------------------------------------------------------------------------------------------------------

    def list_places(self) -> tuple[Place, ...]:
        """Return the policy's view of every place."""
        return tuple(place.to_place() for place in self)

    def list_views(self) -> tuple[PlaceView, ...]:
        """Return what people and programs see of every place."""
        return tuple(place.to_view() for place in self)

    async def watch(self, changed: Callable[[PlaceState], None], monotonic: Callable[[], float]) -> None:
        """Check engines, for ever, and call `changed` with a place whose view changed.

        All are checked at start; those that fail, after growing waits; the others now and then. Engines that left are
        closed here.
        """
        self._changed = changed
        while True:
            now = monotonic()
            for place in self._note_leaving():
                changed(place)
            async with asyncio.TaskGroup() as tasks:
                for place in self:
                    for engine in place.list_due_checks(now=now):
                        tasks.create_task(_check(place, engine, changed, now))
                    if place.must_restart:
                        tasks.create_task(_restart(place, changed))
                    elif drained := place.list_drained():
                        tasks.create_task(_empty(place, drained, changed))
                    self._retired += place.take_retired()
                tasks.create_task(self._close_retired())
            await asyncio.sleep(CHECK_TICK_S)

    async def refresh_models(self) -> None:
        """Ask all servers which models they have, since some were changed; watchers get the places that differ."""
        before = [(place, place.to_place()) for place in self]
        await asyncio.gather(*(place.refresh_models() for place, _ in before))
        for place, known in before:
            if place in self._places.values() and place.to_place() != known:
                self._changed(place)

    async def close(self) -> None:
        """Stop every engine of every place."""
        async with asyncio.TaskGroup() as tasks:
            for place in self:
                tasks.create_task(place.close())
            tasks.create_task(self._close_retired())

    async def _close_retired(self) -> None:
        retired, self._retired = self._retired, []
        await close_engines(retired)


async def _check(place: PlaceState, engine: str, changed: Callable[[PlaceState], None], now: float) -> None:
    if await place.check(engine, now=now):
        changed(place)


def _measure_excess(use: DeviceUse, places: Sequence[Place]) -> int:
    """Return the bytes that Corral's own processes hold beyond what is accounted for; 0 while nothing runs there.

    Then all can be given up but contexts of idle servers, which must not keep the only task that needs them waiting.
    """
    if use.own is None or not any(place.running for place in places):
        return 0
    return max(0, use.own - sum(map(count_accounted, places)))


async def _restart(place: PlaceState, changed: Callable[[PlaceState], None]) -> None:
    await place.restart_engines()
    changed(place)


async def _empty(place: PlaceState, engines: list[str], changed: Callable[[PlaceState], None]) -> None:
    await place.evict(engines)
    changed(place)
