"""Sessions of the console: who asks, log in with a token or the code of a link, log out."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta

from fastapi import Request, Response

from corral.requests import KeyFields
from corral.server.api.auditing import describe_act
from corral.server.api.bodies import StrangersRoute
from corral.server.api.errors import declare_refusals
from corral.server.api.requests import LogInAsked
from corral.server.api.routing import make_router
from corral.server.api.schemas import ConsoleLink, SessionOut
from corral.server.api.state import Admin, ApiState, Here, Visitor
from corral.server.auth import LOCAL_OWNER, Caller, Role, authenticate, speak_for
from corral.server.sessions import HEADER, LASTS, CodeError, ForgedRequestError, name_cookie
from corral.tasks.store.audit import Action
from corral.tasks.store.invitations import PREFIX, InvitationError, accept
from corral.tasks.store.tokens import Token, create_token

router = make_router("session", prefix="/corral/v1/session", route_class=StrangersRoute)


@router.get("", summary="Who asks", responses=declare_refusals())
async def get_session(request: Request, api: Here, visitor: Visitor) -> SessionOut:
    """Return whom the request speaks for; without a usable token it is answered, too, and says so."""
    return _describe(api, visitor, has_cookie=name_cookie(api.services.cluster.name) in request.cookies)


@router.post("", status_code=201, summary="Log in", responses=declare_refusals(400, 409, 413))
async def log_in(asked: LogInAsked, request: Request, response: Response, api: Here) -> SessionOut:
    """Keep a token in a cookie that only this server reads; the code of a link is exchanged for a new token.

    Needs the header `X-Corral-Console`, so that no other page can do it.
    """
    _require_console(request)
    origin = request.client.host if request.client else None
    if asked.code is not None:
        token, secret = await _redeem(api, asked.code, origin)
        caller = speak_for(token, origin)
    else:
        secret = asked.token or ""
        caller = await authenticate(
            {"authorization": f"Bearer {secret}"},
            keys=api.services.keys,
            local_token=api.services.local_token,
            loopback=False,
            origin=origin,
        )
    lasts = LASTS
    if caller.limits is not None and caller.limits.expires_at is not None:
        lasts = min(lasts, caller.limits.expires_at - datetime.now(UTC))
    _set_cookie(request, response, api, secret, lasts)
    return _describe(api, caller, has_cookie=True)  # the one that this answer sets


@router.delete("", status_code=204, summary="Log out", responses=declare_refusals())
async def log_out(request: Request, api: Here) -> Response:
    """Have the browser forget its token; the token itself stays good until it is revoked."""
    _require_console(request)
    response = Response(status_code=204)
    _set_cookie(request, response, api, "", timedelta())
    return response


@router.post("/link", status_code=201, summary="Make a link to the console", responses=declare_refusals())
async def make_console_link(api: Here, caller: Admin) -> ConsoleLink:
    """Make a link to the console. Where a token is needed, it logs one browser in as the local administrator, once."""
    services = api.services
    link, ends_at = services.link_codes.make_link(services.console_url, needs_code=not services.trusts_loopback)
    return ConsoleLink(link=link, ends_at=ends_at)


async def _redeem(api: ApiState, code: str, origin: str | None) -> tuple[Token, str]:
    """Exchange a code for a new token and its secret. An unknown code counts as an unknown token does.

    Raises: CodeError, FailedKeysError, InvitationError, TokenExistsError.
    """
    failures = api.services.keys.failures
    failures.refuse_many(origin, time.monotonic())  # before the code is used up
    try:
        return await _exchange(api, code, origin)
    except (CodeError, InvitationError):
        failures.note(origin, time.monotonic())
        raise


async def _exchange(api: ApiState, code: str, origin: str | None) -> tuple[Token, str]:
    if code.startswith(PREFIX):
        return await accept(api.services.pool, code, origin=origin)
    now = datetime.now(UTC)
    api.services.link_codes.redeem(code, now)
    name = f"console-{secrets.token_hex(4)}"
    local = Caller(owner=LOCAL_OWNER, role=Role.ADMIN, origin=origin)
    fields = KeyFields(owner=LOCAL_OWNER, expires_at=now + LASTS)
    act = describe_act(local, Action.TOKEN_CREATED, name, role=Role.ADMIN.value, by="link")
    return await create_token(api.services.pool, name=name, role=Role.ADMIN.value, fields=fields, act=act)


def _require_console(request: Request) -> None:
    """Return when a request is the console's own. Raises: ForgedRequestError."""
    if HEADER not in request.headers:
        raise ForgedRequestError(f"the request has no header {HEADER}", hint="open the console at `/`")


def _set_cookie(request: Request, response: Response, api: ApiState, secret: str, lasts: timedelta) -> None:
    response.set_cookie(
        name_cookie(api.services.cluster.name),
        secret,
        max_age=int(lasts.total_seconds()),
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def _describe(api: ApiState, caller: Caller | None, *, has_cookie: bool) -> SessionOut:
    if caller is None:
        return SessionOut(owner=None, role=None, cluster=None, has_cookie=False, keeps_conversations=False)
    cluster = api.services.cluster
    return SessionOut(
        owner=caller.owner,
        role=caller.role,
        cluster=cluster.name,
        has_cookie=has_cookie,
        keeps_conversations=cluster.keeps_conversations,
    )
