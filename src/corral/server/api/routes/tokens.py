"""Tokens: make, list, revoke."""

from __future__ import annotations

from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.requests import KeyFields, get_values, request_of, select
from corral.server.api.auditing import describe_act
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Word
from corral.server.api.requests import TokenAsked
from corral.server.api.routing import make_router
from corral.server.api.schemas import TokenCreated, TokenOut, Tokens
from corral.server.api.state import Admin, Here
from corral.server.auth import LOCAL_OWNER, Role
from corral.tasks.store.audit import Action
from corral.tasks.store.tokens import Token, create_token, list_tokens, revoke_token

router = make_router("tokens", prefix="/corral/v1/tokens", route_class=StrictRoute)


class ReservedNameError(CorralError):
    """A token would own what is submitted without one."""

    code: ClassVar[str] = "token.reserved_name"
    kind: ClassVar[Kind] = Kind.INVALID


@router.post(
    "", status_code=201, summary="Create a token", responses=declare_refusals(400, 409, 413), name="create_token"
)
async def create(asked: TokenAsked, api: Here, caller: Admin) -> TokenCreated:
    """Make a token. Its secret is in this answer and nowhere else."""
    require_free_owner(asked)
    limits = select(asked, KeyFields)
    act = describe_act(caller, Action.TOKEN_CREATED, asked.name, role=asked.role.value, **request_of(asked, KeyFields))
    token, secret = await create_token(
        api.services.pool, name=asked.name, role=asked.role.value, fields=limits, act=act
    )
    return TokenCreated(name=token.name, role=asked.role, owner=token.owner, token=secret)


@router.get("", summary="List tokens", responses=declare_refusals(), name="list_tokens")
async def list_all(api: Here, caller: Admin) -> Tokens:
    """List every token, without secrets."""
    return Tokens(items=[_describe_token(token) for token in await list_tokens(api.services.pool)])


@router.delete("/{name}", summary="Revoke a token", responses=declare_refusals(404), name="revoke_token")
async def revoke(name: Word, api: Here, caller: Admin) -> TokenOut:
    """Refuse a token from now on."""
    token = await revoke_token(api.services.pool, name, act=describe_act(caller, Action.TOKEN_REVOKED, name))
    api.services.keys.ring.forget(token)
    return _describe_token(token)


def require_free_owner(asked: TokenAsked) -> None:
    """Return when a token can have its name and owner. Raises: ReservedNameError."""
    if LOCAL_OWNER in (asked.name, asked.owner):
        raise ReservedNameError(f"{LOCAL_OWNER!r} owns what is submitted without a token", hint="choose another name")


def _describe_token(token: Token) -> TokenOut:
    return TokenOut.model_construct(
        **get_values(token.fields, KeyFields),
        name=token.name,
        role=Role(token.role),
        created_at=token.created_at,
        last_used_at=token.last_used_at,
        revoked_at=token.revoked_at,
    )
