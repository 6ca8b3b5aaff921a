"""Conversations of the chat: each belongs to one owner, and to no other, administrators included.

A turn is written once, when its answers are whole. What a search looks into is kept next to the turn as one text: the
question and the words of the answers, without pictures.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from corral.errors import CorralError, Kind
from corral.tasks.store.patterns import make_pattern
from corral.tasks.store.pool import Connection, Pool, Queries, Row
from corral.units import Bytes
from corral.wire import to_json

MOST_CONVERSATIONS = 10_000
MOST_BYTES = 256 * 1024**2
"""Of one owner: some 1,000 pictures as the console shrinks them, or 20 million words, which are stored twice."""
MOST_BYTES_OF_EACH = 32 * 1024**2
"""Of one conversation, which is read and sent as a whole."""
_ROW_BYTES = 128
"""Counted for a conversation, a turn and an answer each, next to their texts."""
_COLUMNS = "id, title, models, created_at, changed_at"
_LOCK = 0x63686174  # "chat": the first half of an advisory lock; the other is a hash of the owner


class ConversationMissingError(CorralError):
    """There is no such conversation, or it is another owner's."""

    code: ClassVar[str] = "conversation.missing"
    kind: ClassVar[Kind] = Kind.MISSING


class ConversationQuotaError(CorralError):
    """The owner has kept as much as one can, or a conversation is as large as one can be."""

    code: ClassVar[str] = "conversation.quota"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The answer of one model."""

    model: str
    text: str
    place: str | None = None
    """The slot that wrote it, or the provider elsewhere; None when it is unknown."""
    tokens: int | None = None
    """Of the answer, as its server counted; None when it did not."""
    seconds: float | None = None
    """From the first piece to the last."""
    problem: str | None = None
    """Why it is missing, or ends early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question, and the answers of the models that were asked."""

    asked: str
    images: tuple[str, ...] = ()
    """`data:` URLs."""
    answers: tuple[Said, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation without its turns and its system prompt."""

    id: int
    title: str
    models: tuple[str, ...]
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeConversation(Conversation):
    """A conversation with all its turns, the oldest first."""

    system: str
    """The system prompt; empty without one."""
    turns: tuple[Turn, ...] = field(default=())


async def begin_conversation(pool: Pool, *, owner: str, title: str, system: str, models: Sequence[str]) -> Conversation:
    """Begin a conversation without turns. Raises: ConversationQuotaError."""
    async with pool.acquire() as connection, connection.transaction():
        size = _measure((title, system, *models))
        await _require_room(connection, owner, size, begun=1)
        row = await connection.fetchrow(
            "insert into conversations (owner, title, system, models, bytes) values ($1, $2, $3, $4, $5)"
            f" returning {_COLUMNS}",
            owner,
            title,
            system,
            [*models],
            size,
        )
    assert row is not None, "an insert without conditions returns its row"
    return _read(row)


async def add_turn(pool: Pool, *, owner: str, conversation: int, turn: Turn) -> Conversation:
    """Add a turn, and return the conversation. Raises: ConversationMissingError, ConversationQuotaError."""
    answers: Any = to_json(turn.answers)  # what jsonb holds
    words = "\n".join((turn.asked, *(said.text for said in turn.answers)))
    said = (_measure((said.model, said.text, said.place or "", said.problem or "")) for said in turn.answers)
    size = Bytes(_measure((turn.asked, words, *turn.images)) + sum(said))
    async with pool.acquire() as connection, connection.transaction():
        await _require_room(connection, owner, size)
        row = await connection.fetchrow(
            "update conversations set changed_at = now(), bytes = bytes + $3 where id = $1 and owner = $2"
            f" returning {_COLUMNS}, bytes",
            conversation,
            owner,
            size,
        )
        if row is None:
            raise _missing(conversation)
        if row["bytes"] > MOST_BYTES_OF_EACH:
            raise ConversationQuotaError(
                f"the conversation {conversation} would have {row['bytes']} bytes; the most are {MOST_BYTES_OF_EACH}",
                hint="begin another one",
            )
        await connection.execute(
            """
            insert into conversation_turns (conversation, place, asked, images, answers, words)
            select $1, coalesce(max(place), 0) + 1, $2, $3, $4, $5 from conversation_turns where conversation = $1
            """,
            conversation,
            turn.asked,
            [*turn.images],
            answers,
            words,
        )
    return _read(row)


async def list_conversations(
    pool: Queries, *, owner: str, search: str | None = None, after: int | None = None, limit: int
) -> tuple[Conversation, ...]:
    """List an owner's conversations, the last changed first; `search` is a part of a title or of what was said.

    `after` is the last one of the page before.
    """
    rows = await pool.fetch(
        f"""
        select {_COLUMNS} from conversations c
        where c.owner = $1
          and ($2::text is null or c.title ilike $2 or exists (
            select from conversation_turns t where t.conversation = c.id and t.words ilike $2))
          and ($3::bigint is null or (c.changed_at, c.id) < (
            select changed_at, id from conversations where id = $3 and owner = $1))
        order by c.changed_at desc, c.id desc limit $4
        """,
        owner,
        make_pattern(search),
        after,
        limit,
    )
    return tuple(map(_read, rows))


async def get_conversation(pool: Pool, *, owner: str, conversation: int) -> WholeConversation:
    """Return a conversation with its turns; their JSON is read in a thread. Raises: ConversationMissingError."""
    async with pool.acquire() as connection:
        row = await connection.fetchrow(
            f"select {_COLUMNS}, system from conversations where id = $1 and owner = $2", conversation, owner
        )
        if row is None:
            raise _missing(conversation)
        rows = await connection.fetch(
            "select asked, images::text, answers::text from conversation_turns where conversation = $1 order by place",
            conversation,
        )
    turns = await asyncio.to_thread(lambda: tuple(map(_read_turn, rows)))
    return WholeConversation(**_read_fields(row), system=row["system"], turns=turns)


async def delete_conversation(pool: Queries, *, owner: str, conversation: int) -> None:
    """Delete a conversation with its turns. Raises: ConversationMissingError."""
    gone = await pool.fetchval(
        "delete from conversations where id = $1 and owner = $2 returning id", conversation, owner
    )
    if gone is None:
        raise _missing(conversation)


def _measure(texts: Sequence[str]) -> Bytes:
    """Return the bytes that count for a row with these texts."""
    return Bytes(_ROW_BYTES + sum(len(text.encode()) for text in texts))


async def _require_room(connection: Connection, owner: str, size: Bytes, *, begun: int = 0) -> None:
    """Return when an owner can keep more; others of this owner wait meanwhile. Raises: ConversationQuotaError."""
    await connection.execute("select pg_advisory_xact_lock($1, hashtext($2))", _LOCK, owner)
    row = await connection.fetchrow(
        "select count(*) as count, coalesce(sum(bytes), 0) as bytes from conversations where owner = $1", owner
    )
    assert row is not None, "an aggregate has a row"
    if row["count"] + begun > MOST_CONVERSATIONS or row["bytes"] + size > MOST_BYTES:
        what = f"{owner!r} keeps {row['count']} conversations with {row['bytes']} bytes"
        raise ConversationQuotaError(
            f"{what}; the most are {MOST_CONVERSATIONS} and {MOST_BYTES}", hint="delete some of them"
        )


def _missing(conversation: int) -> ConversationMissingError:
    hint = "`GET /corral/v1/conversations` lists yours"
    return ConversationMissingError(f"there is no conversation {conversation} of yours", hint=hint)


def _read(row: Row) -> Conversation:
    return Conversation(**_read_fields(row))


def _read_fields(row: Row) -> dict[str, Any]:  # of `Conversation`
    names = ("id", "title", "created_at", "changed_at")
    return {name: row[name] for name in names} | {"models": tuple(row["models"])}


def _read_turn(row: Row) -> Turn:
    answers = tuple(Said(**said) for said in json.loads(row["answers"]))
    return Turn(asked=row["asked"], images=tuple(json.loads(row["images"])), answers=answers)
