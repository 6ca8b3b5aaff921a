"""All groups of slots of a server: added, changed and removed while it runs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from corral.scheduling.values import Gate, Slot
from corral.slots.group import Group, close_engines
from corral.slots.values import Difference, GroupView, Hold, SlotSpec, Wanted, compare, find_gate
from corral.work import Engine, SlotId, device_of

CHECK_TICK_S = 0.5
"""How often the registry looks whether a check is due."""


class Registry:
    """All groups of slots, by id; one task owns it (the dispatcher's loop)."""

    def __init__(self, wanted: Wanted = Wanted()) -> None:  # noqa: B008 (a frozen value)
        self._groups: dict[SlotId, Group] = {}
        self._wanted = Wanted()
        self._gates: Mapping[SlotId, Gate] = {}
        self._retired: list[Engine] = []
        """Engines of groups that are gone, still to be closed."""
        self.apply(self.compare(wanted))

    def __getitem__(self, group: SlotId) -> Group:
        return self._groups[group]

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def __len__(self) -> int:
        return len(self._groups)

    def get(self, group: SlotId) -> Group | None:
        """Return a group; None when it is gone."""
        return self._groups.get(group)

    # --- coming and going --------------------------------------------------------------------------------------------

    @property
    def wanted(self) -> Wanted:
        """The devices and slots that were applied last; some of them can wait for the end of a hold."""
        return self._wanted

    def compare(self, wanted: Wanted) -> Difference:
        """Return what `apply` would do, without doing it."""
        difference = compare(self._wanted, wanted)
        touched = (*difference.removed, *(change.before for change in difference.changed))
        held = {slot.id: str(self._groups[slot.group].holds[0]) for slot in touched if self._is_held(slot.group)}
        holding = {group.device.name: str(group.holds[0]) for group in self if group.holds}
        edited = {change.before.name for change in difference.devices}
        held |= {name: hold for name, hold in holding.items() if name in edited}
        return replace(difference, held=held)

    def apply(self, difference: Difference) -> None:
        """Make true what is wanted: at once, or for what is held when its last hold ends.

        Every engine is made before anything changes, so that one that cannot be made leaves everything as it was.
        """
        wanted = difference.wanted
        # What other programs hold was measured before our own models were in memory: that figure stays.
        foreign = {group.device.provider: group.device.foreign for group in self}
        devices = {
            device.name: replace(device, foreign=foreign.get(device.provider, device.foreign))
            for device in wanted.devices
        }
        slots: defaultdict[SlotId, list[SlotSpec]] = defaultdict(list)
        for slot in wanted.slots:
            slots[slot.group].append(slot)
        groups = {id: self._groups.get(id) or Group(id, devices[members[0].device]) for id, members in slots.items()}
        states = {id: group.prepare(slots[id]) for id, group in groups.items()}
        for id, group in (self._groups | groups).items():
            self._groups[id] = group
            group.aim(devices[slots[id][0].device] if id in slots else group.device, states.get(id, ()))
            group.set_gates(self._find_gate)
            self._drop_if_gone(group)
        self._wanted = wanted
        self._note_leaving()

    def _note_leaving(self) -> list[Group]:
        """Keep groups closed whose GPU or server is held under another name; return those for which that changed."""
        leaving = [(group, str(group.holds[0])) for group in self if group.holds and group.is_changing]
        changed: list[Group] = []
        for group in self:
            holders = (hold for other, hold in leaving if other is not group and other.occupies & group.occupies)
            holder = next(holders, None)
            if holder != group.held_by_leaving:
                group.held_by_leaving = holder
                changed.append(group)
        return changed

    def _is_held(self, group: SlotId) -> bool:
        return group in self._groups and bool(self._groups[group].holds)

    def _drop_if_gone(self, group: Group) -> None:
        if group.is_gone and self._groups.get(group.id) is group:
            self._retired += group.take_retired()
            del self._groups[group.id]

    # --- holds -------------------------------------------------------------------------------------------------------

    def release(self, groups: Iterable[Group], hold: Hold) -> None:
        """End a hold on groups; a group that leaves is dropped with its last hold."""
        for group in groups:
            group.release(hold)
            self._drop_if_gone(group)

    def note_gates(self, gates: Mapping[SlotId, Gate]) -> None:
        """Set the gates of slots and devices, also for slots that come later; every other one is open."""
        self._gates = gates
        for group in self:
            group.set_gates(self._find_gate)

    def _find_gate(self, slot: SlotSpec) -> Gate:
        return find_gate(slot, self._gates)

    def note_elsewhere(self, holders: Mapping[SlotId, str]) -> None:
        """Note who holds which slots for other servers, by the name of the slot or its group.

        A slot that is unknown here holds its device: the other server can have another cluster file.
        """
        known = {name for group in self for name in (group.id, *group.names)}
        on_device = {device_of(name): label for name, label in holders.items() if name not in known}
        for group in self:
            names = (group.id, *group.names)
            label = next((holders[name] for name in names if name in holders), None)
            group.held_elsewhere = label or on_device.get(group.device.name)

    # --- facts -------------------------------------------------------------------------------------------------------

    def views(self) -> tuple[Slot, ...]:
        """Return the policy's view of every group."""
        return tuple(group.view() for group in self)

    def show(self) -> tuple[GroupView, ...]:
        """Return what people and programs see of every group."""
        return tuple(group.show() for group in self)

    def count_free(self) -> int:
        """Return how many groups can take a task now."""
        return sum(group.is_free for group in self)

    async def watch(self, changed: Callable[[Group], None], monotonic: Callable[[], float]) -> None:
        """Check engines, for ever, and call `changed` with a group whose view changed.

        All are checked at start; those that fail, after growing waits; the others now and then. Engines that left are
        closed here.
        """
        while True:
            now = monotonic()
            for group in self._note_leaving():
                changed(group)
            async with asyncio.TaskGroup() as tasks:
                for group in self:
                    for engine in group.list_due_checks(now=now):
                        tasks.create_task(_check(group, engine, changed, now))
                    if drained := group.list_drained():
                        tasks.create_task(_empty(group, drained, changed))
                    self._retired += group.take_retired()
                tasks.create_task(self._close_retired())
            await asyncio.sleep(CHECK_TICK_S)

    async def close(self) -> None:
        """Stop every engine of every group."""
        async with asyncio.TaskGroup() as tasks:
            for group in self:
                tasks.create_task(group.close())
            tasks.create_task(self._close_retired())

    async def _close_retired(self) -> None:
        retired, self._retired = self._retired, []
        await close_engines(retired)


async def _check(group: Group, engine: str, changed: Callable[[Group], None], now: float) -> None:
    if await group.check(engine, now=now):
        changed(group)


async def _empty(group: Group, engines: list[str], changed: Callable[[Group], None]) -> None:
    await group.evict(engines)
    changed(group)
