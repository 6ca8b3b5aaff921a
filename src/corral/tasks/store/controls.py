"""What people set next to tasks: the gates of queues and slots, and devices that are handed over to other programs.

A gate is open, paused (starts nothing) or draining (for a queue: takes nothing new). A device's gate is that of its
slots that have none of their own. A change of a gate is appended to the story, which wakes the dispatcher.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from enum import StrEnum

from corral.scheduling.values import Gate
from corral.slots.yielding import HandedOver
from corral.tasks.store import story
from corral.tasks.store.audit import Act, append_act
from corral.tasks.store.pool import Pool, Queries
from corral.work import Json, Priority, SlotId


class Gated(StrEnum):
    """A kind of thing that has a gate."""

    SLOT = "slot"
    QUEUE = "queue"


async def find_gates(pool: Queries, kind: Gated) -> Mapping[str, Gate]:
    """Return the gates that were set, by the name of the queue, slot or device."""
    rows = await pool.fetch("select name, gate from gates where kind = $1", kind.value)
    return {row["name"]: Gate(row["gate"]) for row in rows}


async def set_gate(pool: Pool, kind: Gated, name: str, gate: Gate, *, act: Act | None = None) -> bool:
    """Set a gate and return whether that changed it; people cannot set `unhealthy`."""
    return await set_gates(pool, kind, {name: ()}, gate, act=act)


async def set_gates(
    pool: Pool, kind: Gated, names: Mapping[str, Collection[str]], gate: Gate, *, act: Act | None = None
) -> bool:
    """Set gates in one transaction and return whether that changed any.

    Under each name are those that take its gate over and lose their own: under a device, all names of its slots. `act`
    goes into the audit log where something changed.
    """
    if gate is Gate.UNHEALTHY:
        raise ValueError("only observation makes a slot unhealthy")
    covered = sorted({member for members in names.values() for member in members} - names.keys())
    async with story.open_writing(pool) as writing:
        freed = await writing.connection.fetch(
            "delete from gates where kind = $1 and name = any($2::text[]) returning name", kind.value, covered
        )
        set_ = await writing.connection.fetch(
            """
            insert into gates (kind, name, gate) select $1, name, $3::text::gate from unnest($2::text[]) as name
            on conflict (kind, name) do update set gate = excluded.gate where gates.gate <> excluded.gate
            returning name
            """,
            kind.value,
            sorted(names),
            gate.value,
        )
        changed = [row["name"] for row in set_]
        if freed and not changed:
            changed = sorted(names)
        if act is not None and changed:
            await append_act(writing.connection, act)
        data = [{"kind": kind.value, "name": name, "gate": gate.value} for name in changed]
        await story.append(writing, [story.Entry(kind="gate_changed", data=entry) for entry in data])
        return bool(changed)


async def set_priority(pool: Pool, task: int, priority: Priority, *, act: Act) -> bool:
    """Give a task another priority and return whether that changed it; one that has started or ended stays as it is."""
    async with story.open_writing(pool) as writing:
        row = await writing.connection.fetchrow(
            """
            update tasks set priority = $2
            where id = $1 and state in ('waiting', 'queued') and priority <> $2 returning batch_id
            """,
            task,
            priority.value,
        )
        if row is None:
            return False
        await append_act(writing.connection, act)
        data: dict[str, Json] = {"priority": priority.name.lower(), "by": act.owner}
        await story.append(writing, [story.Entry(kind="priority_changed", task=task, batch=row["batch_id"], data=data)])
        return True


async def find_handed_over(pool: Queries) -> dict[SlotId, HandedOver]:
    """Return the devices that users gave to other programs and whose time is not over, by name."""
    rows = await pool.fetch(
        "select device, owner, since, until, at_once from handed_over where until is null or until > now()"
    )
    return {
        SlotId(row["device"]): HandedOver(
            by=row["owner"], since=row["since"], until=row["until"], at_once=row["at_once"]
        )
        for row in rows
    }


async def hand_over(pool: Pool, devices: Collection[str], lasts: timedelta | None, *, at_once: bool, act: Act) -> None:
    """Give devices to other programs from now on, in one transaction; of one that is given away, the rest changes."""
    async with story.open_writing(pool) as writing:
        await writing.connection.execute(
            """
            insert into handed_over (device, owner, until, at_once)
            select device, $2, now() + $3::interval, $4 from unnest($1::text[]) as device
            on conflict (device) do update set
              owner = excluded.owner, until = excluded.until, at_once = excluded.at_once,
              since = case when handed_over.until <= now() then now() else handed_over.since end
            """,
            sorted(devices),
            act.owner,
            lasts,
            at_once,
        )
        await append_act(writing.connection, act)
        await story.append(writing, [_note_gate(device, "yields") for device in sorted(devices)])


async def take_back(pool: Pool, devices: Collection[str], *, act: Act) -> bool:
    """Take devices back; return whether one of them was given away."""
    async with story.open_writing(pool) as writing:
        rows = await writing.connection.fetch(
            "delete from handed_over where device = any($1::text[]) returning device", sorted(devices)
        )
        if rows:
            await append_act(writing.connection, act)
        await story.append(writing, [_note_gate(row["device"], "taken back") for row in rows])
        return bool(rows)


def _note_gate(device: str, gate: str) -> story.Entry:
    return story.Entry(kind="gate_changed", data={"kind": "device", "name": device, "gate": gate})
