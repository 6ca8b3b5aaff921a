"""The outbox in SQL: messages that wait, what became of each try, and how far the story was read for them.

Only the leader writes, under its epoch. A message is made in the transaction that moves the cursor of the story, so it
is made exactly once; it is sent at least once, since a server can be killed between an answer and its note here. A try
is noted before it begins, so that a message that kills the server waits longer each time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from corral.cluster.receivers import Occasion
from corral.tasks.store.leading import require_lead
from corral.tasks.store.pool import Connection, Pool, Queries, Row
from corral.tasks.store.writing import to_json
from corral.work import Json

KEPT = timedelta(days=7)
"""How long messages that were sent or given up are shown."""
GIVEN_UP_AFTER = timedelta(days=1)
PAGE = 500
"""Messages of one bundle at most."""


class Channel(StrEnum):
    """A way out."""

    BATCH_WEBHOOK = "batch_webhook"
    """The receiver is the URL of a batch's `webhook`."""
    WEBHOOK = "webhook"
    """The receiver is a name of `webhooks.receivers`."""
    NOTIFY = "notify"
    """The receiver is a name of `notify`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message to add."""

    channel: Channel
    receiver: str
    occasion: Occasion
    key: str
    """What happened; a receiver gets word of it once."""
    at: datetime
    data: Mapping[str, Json]
    batch: int | None = None
    wait: timedelta = timedelta()
    """Before the first try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that waits."""

    id: int
    channel: Channel
    receiver: str
    batch: int | None
    occasion: Occasion
    message: UUID
    """Its name for the receiver, the same in every try."""
    at: datetime
    data: Mapping[str, Json]
    created_at: datetime
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a try did not work."""

    what: str
    wait: timedelta
    """Before the next one."""
    final: bool = False
    """Whether there is no next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The messages to one receiver."""

    channel: Channel
    receiver: str
    pending: int
    oldest_at: datetime | None
    """When the oldest that waits was made."""
    next_at: datetime | None
    """When the next try is due."""
    tries: int
    """The most tries of one that waits."""
    problem: str | None
    """Why the last try did not work, of what waits or was given up."""
    sent_at: datetime | None
    """When the last one was delivered."""
    given_up: int


@asynccontextmanager
async def open_outbox(pool: Pool, epoch: int) -> AsyncGenerator[Connection]:
    """Open a transaction that writes as the leader. Raises: LeadLostError."""
    async with pool.acquire() as connection, connection.transaction():
        await require_lead(connection, epoch)
        yield connection


async def read_cursor(connection: Queries) -> int:
    """Return the line of the story up to which messages were made; others wait until the transaction ends."""
    return int(await connection.fetchval("select event_id from outbox_cursor for update"))


async def move_cursor(connection: Queries, event: int) -> None:
    """Note up to which line messages were made."""
    await connection.execute("update outbox_cursor set event_id = $1 where event_id < $1", event)


async def add(connection: Queries, messages: Sequence[NewMessage]) -> None:
    """Add messages in their order; one that a receiver has by its key already is left out."""
    if not messages:
        return
    await connection.execute(
        """
        insert into outbox (channel, receiver, batch_id, occasion, key, at, data, due_at)
        select channel, receiver, batch, occasion, key, at, data::jsonb, now() + wait
        from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[], $7::text[],
          $8::interval[]) with ordinality as new(channel, receiver, batch, occasion, key, at, data, wait, place)
        order by place on conflict do nothing
        """,
        [message.channel.value for message in messages],
        [message.receiver for message in messages],
        [message.batch for message in messages],
        [message.occasion.value for message in messages],
        [message.key for message in messages],
        [message.at for message in messages],
        [to_json(dict(message.data)) for message in messages],
        [message.wait for message in messages],
    )


_PENDING = "sent_at is null and given_up_at is null"
_COLUMNS = "id, channel, receiver, batch_id, occasion, message, at, data, created_at, tries"


async def list_heads(pool: Queries) -> tuple[Message, ...]:
    """Return the webhook messages that are due: of each batch and receiver the first, since the others wait for it."""
    rows = await pool.fetch(
        f"""
        select {_COLUMNS} from (
          select distinct on (channel, receiver, coalesce(batch_id, 0)) * from outbox
          where {_PENDING} and channel in ('batch_webhook', 'webhook')
          order by channel, receiver, coalesce(batch_id, 0), id
        ) as head where due_at <= now() order by due_at
        """
    )
    return tuple(map(_read, rows))


async def find_next(pool: Queries, sent: Message) -> Message | None:
    """Return the webhook message after one that was sent, of the same batch and receiver, if it is due."""
    row = await pool.fetchrow(
        f"""
        select * from (
          select {_COLUMNS}, due_at from outbox where {_PENDING} and channel = $1 and receiver = $2
            and batch_id is not distinct from $3 order by id limit 1
        ) as head where due_at <= now()
        """,
        sent.channel.value,
        sent.receiver,
        sent.batch,
    )
    return None if row is None else _read(row)


async def list_due_targets(pool: Queries) -> tuple[str, ...]:
    """Return the names of `notify` for which something is due."""
    rows = await pool.fetch(
        f"select distinct receiver from outbox where {_PENDING} and channel = 'notify' and due_at <= now()"
    )
    return tuple(row["receiver"] for row in rows)


async def list_bundle(pool: Queries, target: str) -> tuple[Message, ...]:
    """Return at most `PAGE` messages that wait for a target, due or not: they go together."""
    rows = await pool.fetch(
        f"select {_COLUMNS} from outbox where {_PENDING} and channel = 'notify' and receiver = $1 order by id limit $2",
        target,
        PAGE,
    )
    return tuple(map(_read, rows))


async def begin_try(connection: Queries, ids: Collection[int], wait: timedelta) -> bool:
    """Note a try that begins, and when the next is due if this one is cut off; False when none is wanted any more."""
    status = await connection.execute(
        f"update outbox set tries = tries + 1, due_at = now() + $2 where id = any($1::bigint[]) and {_PENDING}",
        list(ids),
        wait,
    )
    return status != "UPDATE 0"


async def note_sent(connection: Queries, ids: Collection[int]) -> None:
    """Note that messages were delivered."""
    await connection.execute(
        f"update outbox set sent_at = now(), problem = null where id = any($1::bigint[]) and {_PENDING}", list(ids)
    )


async def note_failure(connection: Queries, ids: Collection[int], failure: Failure) -> None:
    """Note that a try did not work; what is a day old, or will never work, is given up."""
    await connection.execute(
        f"""
        update outbox set problem = $2, due_at = now() + $3,
          given_up_at = case when $4 or created_at < now() - $5::interval then now() end
        where id = any($1::bigint[]) and {_PENDING}
        """,
        list(ids),
        failure.what,
        failure.wait,
        failure.final,
        GIVEN_UP_AFTER,
    )


async def list_standings(pool: Queries) -> tuple[Standing, ...]:
    """Return how it stands with each receiver that has messages."""
    rows = await pool.fetch(
        f"""
        select channel, receiver, count(*) filter (where {_PENDING}) as pending,
          min(created_at) filter (where {_PENDING}) as oldest_at, min(due_at) filter (where {_PENDING}) as next_at,
          coalesce(max(tries) filter (where {_PENDING}), 0) as tries,
          (array_agg(problem order by id desc) filter (where problem is not null))[1] as problem,
          max(sent_at) as sent_at, count(*) filter (where given_up_at is not null) as given_up
        from outbox group by channel, receiver order by channel, receiver
        """
    )
    return tuple(
        Standing(
            channel=Channel(row["channel"]),
            receiver=row["receiver"],
            pending=row["pending"],
            oldest_at=row["oldest_at"],
            next_at=row["next_at"],
            tries=row["tries"],
            problem=row["problem"],
            sent_at=row["sent_at"],
            given_up=row["given_up"],
        )
        for row in rows
    )


async def remove_past(connection: Queries) -> None:
    """Remove what was sent or given up long ago."""
    await connection.execute("delete from outbox where coalesce(sent_at, given_up_at) < now() - $1::interval", KEPT)


# --- conditions ------------------------------------------------------------------------------------------------------


async def begin_condition(connection: Queries, name: str) -> datetime | None:
    """Note that a condition holds, and return since when; None when that was known."""
    since: datetime | None = await connection.fetchval(
        "insert into outbox_conditions (name) values ($1) on conflict do nothing returning since", name
    )
    return since


async def end_condition(connection: Queries, name: str) -> None:
    """Note that a condition holds no longer."""
    await connection.execute("delete from outbox_conditions where name = $1", name)


async def list_conditions(pool: Queries) -> frozenset[str]:
    """Return the conditions that were reported and have not ended."""
    return frozenset(row["name"] for row in await pool.fetch("select name from outbox_conditions"))


def _read(row: Row) -> Message:
    return Message(
        id=row["id"],
        channel=Channel(row["channel"]),
        receiver=row["receiver"],
        batch=row["batch_id"],
        occasion=Occasion(row["occasion"]),
        message=row["message"],
        at=row["at"],
        data=row["data"],
        created_at=row["created_at"],
        tries=row["tries"],
    )
