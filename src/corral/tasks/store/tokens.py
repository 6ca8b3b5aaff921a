"""Tokens in PostgreSQL. Only a SHA-256 of the secret is kept: 256 random bits need no slow hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.tasks.store.audit import Act, append_act
from corral.tasks.store.pool import Pool, Queries, Row

PREFIX = "corral_"
"""Lets secret scanners and people recognise a leaked secret."""
_SECRET_BYTES = 32
_USE_NOTED_EVERY = timedelta(minutes=1)
"""A write per request would cost a durable commit each."""


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
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


def make_secret() -> str:
    """Return a secret that cannot be guessed."""
    return PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


async def create_token(pool: Pool, *, name: str, role: str, act: Act | None = None) -> tuple[Token, str]:
    """Store a new token and return it with its secret, which is not kept. A revoked token's name is free again.

    `act` goes into the audit log, as that of `revoke_token`. Raises: TokenExistsError.
    """
    secret = make_secret()
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            """
            insert into tokens (name, role, hash) values ($1, $2, $3)
            on conflict (name) do update
              set role = excluded.role, hash = excluded.hash, created_at = now(), last_used_at = null, revoked_at = null
              where tokens.revoked_at is not null
            returning *
            """,
            name,
            role,
            _hash(secret),
        )
        if row is None:
            raise TokenExistsError(
                f"a token {name!r} exists", hint=f"choose another name, or run `corral tokens revoke {name}`"
            )
        if act is not None:
            await append_act(connection, act)
    return _read_token(row), secret


async def list_tokens(pool: Queries) -> tuple[Token, ...]:
    """Return every token, revoked ones too, by name."""
    return tuple(_read_token(row) for row in await pool.fetch("select * from tokens order by name limit 10000"))


async def revoke_token(pool: Pool, name: str, *, act: Act | None = None) -> Token:
    """Refuse the token from now on; revoking it again changes nothing. Raises: TokenMissingError."""
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            "update tokens set revoked_at = coalesce(revoked_at, now()) where name = $1 returning *", name
        )
        if row is None:
            hint = "`corral tokens list` shows those that there are"
            raise TokenMissingError(f"there is no token {name!r}", hint=hint)
        if act is not None:
            await append_act(connection, act)
    return _read_token(row)


async def find_token(pool: Pool, secret: str, *, now: datetime | None = None) -> Token | None:
    """Return the token of a secret and note its use; None when it is unknown or revoked."""
    digest = _hash(secret)
    row = await pool.fetchrow("select * from tokens where hash = $1 and revoked_at is null", digest)
    if row is None or not hmac.compare_digest(row["hash"], digest):
        return None
    token = _read_token(row)
    instant = now or datetime.now(UTC)
    if token.last_used_at is None or instant - token.last_used_at >= _USE_NOTED_EVERY:
        await pool.execute("update tokens set last_used_at = $2 where id = $1", token.id, instant)
    return token


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


def _read_token(row: Row) -> Token:
    return Token(
        id=row["id"],
        name=row["name"],
        role=row["role"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
    )
