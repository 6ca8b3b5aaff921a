"""Writes tasks whose life has changed: only the columns that changed, one update for all rows that changed alike.

In a busy queue nearly every row of a commit is either newly leased or just succeeded, so two updates write them all.
Neither sends the columns that stay, which is most of the cost of a wide update, and a lease touches no index. They and
the slots in use go in one statement: a slot that has become free waits for every round trip of the commit.

The rows are locked by the caller. What the new attempts need comes back with the lease, which saves a query.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from uuid import UUID

from corral.errors import Problem
from corral.tasks.lifecycle import ACTIVE, TERMINAL, Life, TaskState
from corral.tasks.store.pool import Connection, Row
from corral.tasks.values import StoredFile, TakenLane
from corral.work import Json, SlotId

to_json = json.JSONEncoder(separators=(",", ":")).encode
"""`json.dumps` with separators builds an encoder at each call, which takes longer than encoding a line of the story."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who holds the leases that a call writes, and for how long."""

    holder: UUID
    ttl: timedelta


@dataclass(slots=True)
class TaskRow:
    """A locked task, while its changes are applied."""

    before: Life
    life: Life
    batch: int | None
    has_dependents: bool
    started_ago: timedelta | None = None
    """How long the start is past that one of the changes was; None when none was."""
    error: Problem | None = None
    result: Mapping[str, Json] | None = None
    device_model: str | None = None
    avoid_slot: SlotId | None = None
    refused_slot: SlotId | None = None
    takes: tuple[TakenLane, ...] = ()
    """What `slot_leases` has for its lease: lanes of the places, with all of their devices where it computes alone.
    Empty: the first lanes of the slots themselves."""
    outputs: tuple[StoredFile, ...] = ()


def format_problem(problem: Problem) -> dict[str, str]:
    """Return an error as the story and the task keep it."""
    kept = {"code": problem.code, "what": problem.what, "where": problem.where, "hint": problem.hint}
    return {key: value for key, value in kept.items() if value is not None}


_Value = Callable[[TaskRow], object]
_COLUMNS: Mapping[str, tuple[str, str, _Value]] = {
    "open_needs": ("int", "u.open_needs", lambda row: row.life.open_needs),
    "ready_at": ("timestamptz", "u.ready_at", lambda row: row.life.ready_at),
    "attempts": ("smallint", "u.attempts", lambda row: row.life.attempts),
    "losses": ("smallint", "u.losses", lambda row: row.life.losses),
    "lost": ("text", "string_to_array(u.lost, ',')::uuid[]", lambda row: ",".join(map(str, row.life.lost))),
    "lease": ("uuid", "u.lease", lambda row: row.life.lease),
    "slots": ("text", "string_to_array(u.slots, ',')", lambda row: ",".join(row.life.slots)),
    "cancel_requested": ("bool", "u.cancel_requested", lambda row: row.life.cancel_requested),
    "started_at": ("interval", "now() - u.started_at", lambda row: row.started_ago),
    "error": ("text", "u.error::jsonb", lambda row: row.error and to_json(format_problem(row.error))),
    "result": ("text", "u.result::jsonb", lambda row: to_json(row.result)),
    "device_model": ("text", "u.device_model", lambda row: row.device_model),
    "avoid_slots": (
        "text",
        "array_append(array_remove(t.avoid_slots, u.avoid_slots), u.avoid_slots)",
        lambda row: row.avoid_slot,
    ),
    "refused_slots": (
        "text",
        "array_append(array_remove(t.refused_slots, u.refused_slots), u.refused_slots)",
        lambda row: row.refused_slot,
    ),
}
"""The columns that an update can send for each row: the type sent, what the column becomes, and where the value is."""

_LIFE = ("open_needs", "ready_at", "attempts", "losses", "lost", "lease", "slots", "cancel_requested")
"""Those that are compared with the row as it was."""
_EXTRAS: Mapping[str, _Value] = {
    "started_at": lambda row: row.started_ago,
    "error": lambda row: row.error,
    "result": lambda row: row.result,
    "device_model": lambda row: row.device_model,
    "avoid_slots": lambda row: row.avoid_slot,
    "refused_slots": lambda row: row.refused_slot,
}
"""Those that are kept when a change brings them."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What rows that change alike have in common; the statement is made from it alone."""

    state: TaskState
    moved: bool
    """Whether the state is new."""
    holds: bool
    """Whether the row has a lease afterwards."""
    columns: tuple[str, ...]


async def write(connection: Connection, rows: Sequence[TaskRow], lease: Lease | None) -> list[Row]:
    """Write the rows, their outputs and the slots in use; return what new attempts need of the tasks just leased.

    The table's checks refuse a lease without a holder; a lane that is in use raises `asyncpg.UniqueViolationError`.
    """
    shaped: dict[_Shape, list[TaskRow]] = {}
    for row in rows:
        shaped.setdefault(_shape(row), []).append(row)
    if not shaped:
        return []
    values = _collect_slot_values(rows)
    values += [None, None] if lease is None else [lease.holder, lease.ttl]
    for shape, alike in shaped.items():
        values.append([row.life.id for row in alike])
        values += [[_COLUMNS[name][2](row) for row in alike] for name in _list_sent(shape)]
    leased = await connection.fetch(_compose_statement(tuple(shaped)), *values)
    await _write_outputs(connection, rows)
    return leased


def _shape(row: TaskRow) -> _Shape:
    before, life = row.before, row.life
    changed = [name for name in _LIFE if getattr(before, name) != getattr(life, name)]
    brought = [name for name, value in _EXTRAS.items() if value(row) is not None]
    moved = before.state is not life.state
    return _Shape(life.state, moved, life.lease is not None, (*changed, *brought))


def _takes_lease(shape: _Shape) -> bool:
    return shape.holds and "lease" in shape.columns


def _list_sent(shape: _Shape) -> list[str]:
    """Return the columns that differ from row to row; those of an ended lease and of a success do not."""
    constant = set[str]() if shape.holds else {"lease"}
    if shape.state is TaskState.SUCCEEDED:
        constant.add("error")
    return [name for name in shape.columns if name not in constant]


_SLOTS = """
    freed as (delete from slot_leases where task_id = any($1::bigint[]) returning 1),
    taken as (
      insert into slot_leases (slot, lane, task_id)
      select slot, lane, task_id from unnest($2::text[], $3::smallint[], $4::bigint[]) as taken(slot, lane, task_id)
      where (select count(*) from freed) >= 0
    )"""
"""Frees the slots of leases that ended, then takes those of new ones; the count makes the deletion come first."""
_HOLDER, _TTL, _FIRST = 5, 6, 7
"""Places of parameters: after those of `_SLOTS`, those of a lease, and the first one of the updates."""


def _collect_slot_values(rows: Iterable[TaskRow]) -> list[object]:
    changed = [row for row in rows if row.life.lease != row.before.lease]
    left = [row.life.id for row in changed if row.before.state in ACTIVE]
    taken = [
        (lane, row.life.id)
        for row in changed
        if row.life.state in ACTIVE
        for lane in row.takes or map(TakenLane, row.life.slots)
    ]
    return [left, [lane.slot for lane, _ in taken], [lane.lane for lane, _ in taken], [task for _, task in taken]]


@cache  # what happens together in one commit: some dozens of combinations
def _compose_statement(shapes: tuple[_Shape, ...]) -> str:
    """Compose the one statement that writes rows of these shapes and the slots in use."""
    parts: list[str] = []
    place = _FIRST
    for number, shape in enumerate(shapes):
        parts.append(f"changed{number} as ({_compose_update(shape, place)})")
        place += 1 + len(_list_sent(shape))
    leased = [f"select * from changed{number}" for number, shape in enumerate(shapes) if _takes_lease(shape)]
    result = " union all ".join(leased) if leased else f"select ${_HOLDER}::uuid, ${_TTL}::interval where false"
    return f"with {_SLOTS}, {', '.join(parts)} {result}"


def _compose_update(shape: _Shape, place: int) -> str:
    """Compose the update for rows of one shape; its parameters begin at `place`."""
    sent = _list_sent(shape)
    arrays = ", ".join(f"${at}::{_COLUMNS[name][0]}[]" for at, name in enumerate(sent, start=place + 1))
    returned = "returning t.id, t.batch_id, t.name, t.inputs, t.files, t.timeout_s, t.lost"
    return f"""
        update tasks t set {", ".join(_compose_assignments(shape))}
        from unnest(${place}::bigint[]{", " if sent else ""}{arrays}) as u({", ".join(("id", *sent))})
        where t.id = u.id {returned if _takes_lease(shape) else ""}"""


def _compose_assignments(shape: _Shape) -> list[str]:
    sets = [f"{name} = {_COLUMNS[name][1]}" for name in _list_sent(shape)]
    if shape.moved:
        sets.append(f"state = '{shape.state.value}'")
    if shape.moved and shape.state is TaskState.QUEUED:
        sets.append("queued_at = coalesce(t.queued_at, now())")
    if shape.moved and shape.state in TERMINAL:
        sets.append("finished_at = now()")
    if shape.moved and shape.state is TaskState.SUCCEEDED:
        sets.append("error = null")
    if _takes_lease(shape):
        sets.append(f"lease_holder = ${_HOLDER}::uuid, lease_until = now() + ${_TTL}::interval")
    elif "lease" in shape.columns:
        sets.append("lease = null, lease_holder = null, lease_until = null")
    return sets


async def _write_outputs(connection: Connection, rows: Iterable[TaskRow]) -> None:
    ended = [row for row in rows if row.life.state in TERMINAL and row.outputs]
    records = [
        (row.life.id, file.name, bytes.fromhex(file.sha256), file.size, file.media_type)
        for row in ended
        for file in row.outputs
    ]
    if records:
        await connection.executemany(
            "insert into outputs (task_id, name, sha256, size, media_type) values ($1, $2, $3, $4, $5)", records
        )
