"""The audit log: who did what to the server and to the work of others, when, from where.

Entries are only appended; the database refuses to change one. Those that are older than 400 days are removed with the
next entry: their retention is not that of tasks.

The entry of an act on the database is written in the act's own transaction: whatever is killed, both are there or
neither is. What is done elsewhere (a model on an instance, a reload, a backup) is entered once it is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from corral.tasks.store.pool import Queries
from corral.work import Json

MAX_PAGE = 500
_REMOVE_PAST = """
delete from audit where id in (
  select id from audit where at < now() - interval '400 days' limit 1000
  for update skip locked  -- another transaction that removes them can last
)
"""


class Action(StrEnum):
    """The kinds of acts."""

    TOKEN_CREATED = "token_created"
    TOKEN_REVOKED = "token_revoked"
    INVITATION_SENT = "invitation_sent"
    INVITATION_WITHDRAWN = "invitation_withdrawn"
    QUEUE_GATE_SET = "queue_gate_set"
    SLOT_GATE_SET = "slot_gate_set"
    DEVICE_HANDED_OVER = "device_handed_over"
    DEVICE_TAKEN_BACK = "device_taken_back"
    TASK_CANCELLED = "task_cancelled"
    TASK_PRIORITY_SET = "task_priority_set"
    BATCH_CANCELLED = "batch_cancelled"
    SET_CANCELLED = "set_cancelled"
    HOLD_TAKEN = "hold_taken"
    HOLD_RELEASED = "hold_released"
    GARBAGE_COLLECTED = "garbage_collected"
    CLUSTER_RELOADED = "cluster_reloaded"
    BACKUP_TAKEN = "backup_taken"
    UPLOAD_DELETED = "upload_deleted"
    VOICE_CREATED = "voice_created"
    VOICE_DELETED = "voice_deleted"
    MODEL_PULLED = "model_pulled"
    MODEL_PLACED = "model_placed"
    MODEL_MADE = "model_made"
    MODEL_DELETED = "model_deleted"
    MODEL_LOADED = "model_loaded"
    MODEL_UNLOADED = "model_unloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing that a caller did."""

    owner: str
    """By whom: a token's name, or `local`."""
    origin: str | None
    """The address of the client; None when it is unknown."""
    action: Action
    subject: str
    """To what: a token, a queue, slots, a task, a batch, a model."""
    details: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry(Act):
    """An act as the log has it."""

    id: int
    at: datetime


async def append_act(connection: Queries, act: Act) -> None:
    """Append an entry, in the transaction of the connection if it has one, and remove those that are past their time.

    `story.append` comes after it.
    """
    await connection.execute(
        "insert into audit (owner, origin, action, subject, details) values ($1, $2, $3, $4, $5)",
        act.owner,
        act.origin,
        act.action.value,
        act.subject,
        dict(act.details),
    )
    await connection.execute(_REMOVE_PAST)


async def list_audit(pool: Queries, *, before: int | None = None, limit: int = 50) -> tuple[AuditEntry, ...]:
    """Return at most `limit` (500) entries, newest first, with ids below `before`."""
    rows = await pool.fetch(
        "select * from audit where ($1::bigint is null or id < $1) order by id desc limit $2",
        before,
        min(limit, MAX_PAGE),
    )
    return tuple(
        AuditEntry(
            id=row["id"],
            at=row["at"],
            owner=row["owner"],
            origin=row["origin"],
            action=Action(row["action"]),
            subject=row["subject"],
            details=row["details"],
        )
        for row in rows
    )
