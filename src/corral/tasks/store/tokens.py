"""Tokens, the keys of clients, in PostgreSQL. Only a SHA-256 of the secret is kept: 256 random bits need no slow hash.

A server that keeps them in memory listens to `KEYS_CHANNEL`: it is notified by the transaction that changes one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.requests import KeyFields
from corral.tasks.store.audit import Act, Action, append_act
from corral.tasks.store.columns import get_column_values, list_columns, read_fields
from corral.tasks.store.pool import Pool, Queries, Row

KEYS_CHANNEL = "corral_keys"
"""Where listeners are notified that a token was made or revoked."""
PREFIX = "corral_"
"""Lets secret scanners and people recognise a leaked secret."""
_SECRET_BYTES = 32
_COLUMNS = list_columns(KeyFields)


class TokenMissingError(CorralError):
    """There is no token of that name."""

    code: ClassVar[str] = "token.missing"
    kind: ClassVar[Kind] = Kind.MISSING


class TokenExistsError(CorralError):
    """A token of that name is in use."""

    code: ClassVar[str] = "token.exists"
    kind: ClassVar[Kind] = Kind.CONFLICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token without its secret."""

    id: int
    name: str
    role: str
    owner: str
    fields: KeyFields
    """Its limits; `owner` is set."""
    created_at: datetime
    last_used_at: datetime | None
    """Noted a few seconds after the use."""
    revoked_at: datetime | None

    def has_expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.fields.expires_at is not None and now >= self.fields.expires_at


def make_secret() -> str:
    """Return a secret that cannot be guessed."""
    return PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


async def create_token(
    pool: Pool, *, name: str, role: str, fields: KeyFields | None = None, act: Act | None = None
) -> tuple[Token, str]:
    """Store a new token and return it with its secret, which is not kept. A revoked token's name is free again.

    Without `fields` it has no limits, and its name is its owner. An open invitation of this name ends. `act` goes into
    the audit log, as that of `revoke_token`. Raises: TokenExistsError.
    """
    async with pool.acquire() as connection, connection.transaction():
        return await add_token(connection, name=name, role=role, fields=fields or KeyFields(), act=act)


async def add_token(
    connection: Queries, *, name: str, role: str, fields: KeyFields, act: Act | None
) -> tuple[Token, str]:
    """As `create_token`, within a transaction of the caller. Raises: TokenExistsError."""
    secret = make_secret()
    values = get_column_values(fields.model_copy(update={"owner": fields.owner or name}), KeyFields)
    await _end_invitation(connection, name, act)
    row = await connection.fetchrow(_CREATE, name, role, hash_secret(secret), *values)
    if row is None:
        raise TokenExistsError(
            f"a token {name!r} exists", hint=f"choose another name, or run `corral tokens revoke {name}`"
        )
    await _notify(connection, act)
    return _read_token(row), secret


_CREATE = f"""
insert into tokens (name, role, hash, {", ".join(_COLUMNS)})
values ({", ".join(f"${place}" for place in range(1, 4 + len(_COLUMNS)))})
on conflict (name) do update
  set role = excluded.role, hash = excluded.hash, created_at = now(), last_used_at = null, revoked_at = null,
      {", ".join(f"{column} = excluded.{column}" for column in _COLUMNS)}
  where tokens.revoked_at is not null
returning *
"""


async def list_tokens(pool: Queries) -> tuple[Token, ...]:
    """Return every token, revoked ones too, by name."""
    return tuple(_read_token(row) for row in await pool.fetch("select * from tokens order by name limit 10000"))


async def revoke_token(pool: Pool, name: str, *, act: Act | None = None) -> Token:
    """Refuse the token from now on, and end an open invitation of its name; again changes nothing.

    Raises: TokenMissingError.
    """
    async with pool.acquire() as connection, connection.transaction():
        await _end_invitation(connection, name, act)
        row = await connection.fetchrow(
            "update tokens set revoked_at = coalesce(revoked_at, now()) where name = $1 returning *", name
        )
        if row is None:
            hint = "`corral tokens list` shows those that there are"
            raise TokenMissingError(f"there is no token {name!r}", hint=hint)
        await _notify(connection, act)
    return _read_token(row)


async def _end_invitation(connection: Queries, name: str, act: Act | None) -> None:
    """Delete the invitation of a token's name: its link would make another token once this one is revoked."""
    was_open = await connection.fetchval("delete from invitations where name = $1 returning expires_at > now()", name)
    if was_open and act is not None:
        await append_act(connection, replace(act, action=Action.INVITATION_WITHDRAWN, details={"by": act.action.value}))


async def _notify(connection: Queries, act: Act | None) -> None:
    if act is not None:
        await append_act(connection, act)
    await connection.execute("select pg_notify($1, '')", KEYS_CHANNEL)


async def list_keys(pool: Queries) -> dict[bytes, Token]:
    """Return every token that was not revoked, by the hash of its secret."""
    rows = await pool.fetch("select * from tokens where revoked_at is null")
    return {row["hash"]: _read_token(row) for row in rows}


async def find_key(pool: Queries, digest: bytes) -> Token | None:
    """Return the token with this hash of its secret; None when it is unknown or revoked."""
    row = await pool.fetchrow("select * from tokens where hash = $1 and revoked_at is null", digest)
    return None if row is None else _read_token(row)


async def note_uses(pool: Queries, uses: Mapping[int, datetime]) -> None:
    """Note when tokens were used last, by their ids; a later use that is noted already stays."""
    await pool.execute(
        """
        update tokens t set last_used_at = greatest(t.last_used_at, used.at)
        from unnest($1::bigint[], $2::timestamptz[]) as used(id, at) where t.id = used.id
        """,
        [*uses],
        [*uses.values()],
    )


def hash_secret(secret: str) -> bytes:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


def _read_token(row: Row) -> Token:
    return Token(
        id=row["id"],
        name=row["name"],
        role=row["role"],
        owner=row["owner"],
        fields=KeyFields.model_construct(**read_fields(row, KeyFields)),
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
    )
