"""Invitations: each becomes a token of its name once, for the first one who opens its link; a hash of it is kept."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.requests import KeyFields, request_of
from corral.tasks.store.audit import Act, Action, append_act
from corral.tasks.store.pool import Pool, Queries, Row
from corral.tasks.store.tokens import Token, TokenExistsError, add_token, hash_secret

PREFIX = "invite_"
"""Of each code; those of links of `corral console` have none."""
_CODE_BYTES = 24


class InvitationError(CorralError):
    """An invitation is unknown, used, withdrawn or too old."""

    code: ClassVar[str] = "invitation.unknown"
    kind: ClassVar[Kind] = Kind.DENIED


class InvitationMissingError(CorralError):
    """There is no open invitation of that name."""

    code: ClassVar[str] = "invitation.missing"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """An invitation that is open, without its code."""

    name: str
    role: str
    fields: KeyFields
    """The limits of the token that it becomes."""
    invited_by: str
    created_at: datetime
    expires_at: datetime


async def invite(
    pool: Pool, *, name: str, role: str, fields: KeyFields, expires_at: datetime, act: Act
) -> tuple[Invitation, str]:
    """Make an invitation and return it with its code; an older one of this name is good no more. Old ones are removed.

    Raises: TokenExistsError.
    """
    code = PREFIX + secrets.token_urlsafe(_CODE_BYTES)
    async with pool.acquire() as connection, connection.transaction():
        if await connection.fetchval("select exists (select from tokens where name = $1 and revoked_at is null)", name):
            raise TokenExistsError(f"a token {name!r} exists", hint="choose another name, or revoke that token")
        await connection.execute("delete from invitations where expires_at <= now()")
        row = await connection.fetchrow(
            """
            insert into invitations (name, role, hash, fields, invited_by, expires_at) values ($1, $2, $3, $4, $5, $6)
            on conflict (name) do update set role = excluded.role, hash = excluded.hash, fields = excluded.fields,
              invited_by = excluded.invited_by, created_at = now(), expires_at = excluded.expires_at
            returning *
            """,
            *(name, role, hash_secret(code), request_of(fields, KeyFields), act.owner, expires_at),
        )
        await append_act(connection, act)
    assert row is not None, "an insert that updates returns its row"
    return _read(row), code


async def list_invitations(pool: Queries) -> tuple[Invitation, ...]:
    """List the open invitations, by name."""
    return tuple(map(_read, await pool.fetch("select * from invitations where expires_at > now() order by name")))


async def withdraw(pool: Pool, name: str, *, act: Act) -> Invitation:
    """Make an invitation useless. Raises: InvitationMissingError."""
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow("delete from invitations where name = $1 returning *", name)
        if row is None:
            raise InvitationMissingError(f"there is no open invitation for {name!r}")
        await append_act(connection, act)
    return _read(row)


async def accept(pool: Pool, code: str, *, origin: str | None) -> tuple[Token, str]:
    """Use an invitation up, and return its new token with the secret. Raises: InvitationError, TokenExistsError."""
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            "delete from invitations where hash = $1 and expires_at > now() returning *", hash_secret(code)
        )
        if row is None:
            raise InvitationError(
                "this invitation is unknown, used or too old", hint="ask the one who sent it for a new one"
            )
        given = _read(row)
        granted = {"role": given.role, **request_of(given.fields, KeyFields)}
        act = Act(
            owner=given.fields.owner or given.name,
            origin=origin,
            action=Action.TOKEN_CREATED,
            subject=given.name,
            details={**granted, "by": "invitation", "invited_by": given.invited_by},
        )
        return await add_token(connection, name=given.name, role=given.role, fields=given.fields, act=act)


def _read(row: Row) -> Invitation:
    return Invitation(
        name=row["name"],
        role=row["role"],
        fields=KeyFields.model_validate(row["fields"]),
        invited_by=row["invited_by"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
