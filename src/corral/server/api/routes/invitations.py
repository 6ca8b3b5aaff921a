"""Invitations: send, list, withdraw. Opening the link makes the token, and logs that browser in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from starlette.responses import Response

from corral.errors import CorralError, Kind
from corral.requests import KeyFields, request_of
from corral.server.api.auditing import describe_act
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Word
from corral.server.api.requests import InvitationAsked
from corral.server.api.routes.tokens import require_free_owner
from corral.server.api.routing import make_router
from corral.server.api.state import Admin, Here
from corral.server.api.wired import answer, defer, describe_answers
from corral.tasks.store.audit import Action
from corral.tasks.store.invitations import Invitation, invite, list_invitations, withdraw
from corral.work import Json


class TokenEndedError(CorralError):
    """The token of an invitation would have expired already."""

    code: ClassVar[str] = "invitation.token_ended"
    kind: ClassVar[Kind] = Kind.INVALID


router = make_router("tokens", prefix="/corral/v1/invitations", route_class=StrictRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInvitation:
    """An invitation that is open."""

    name: str
    """Of the token that it becomes."""
    role: str
    limits: dict[str, Json]
    """Those of the token, as they were asked for."""
    invited_by: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SentInvitation(OpenInvitation):
    """A new invitation; its link is in this answer and nowhere else."""

    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInvitations:
    """The invitations that are open, by name."""

    items: tuple[OpenInvitation, ...]


describe_answers(OpenInvitation, SentInvitation, OpenInvitations)


@router.post(
    "",
    status_code=201,
    summary="Invite a person",
    response_model=defer(SentInvitation),
    responses=declare_refusals(400, 409, 413),
    name="invite_person",
)
async def send(asked: InvitationAsked, api: Here, caller: Admin) -> Response:
    """Make a link that gives one person such a token, once; a second one of the same name replaces the first.

    The link ends with the token at the latest, where `expires_at` is set.
    """
    require_free_owner(asked)
    limits = request_of(asked, KeyFields)
    now = datetime.now(UTC)
    expires_at = min(now + timedelta(seconds=asked.lasts_s), asked.expires_at or datetime.max.replace(tzinfo=UTC))
    if expires_at <= now:
        raise TokenEndedError(
            f"the token of this invitation expired at {expires_at:%Y-%m-%d %H:%M:%S} UTC",
            hint="set `expires_at` to an instant to come, or leave it out",
        )
    sent, code = await invite(
        api.services.pool,
        name=asked.name,
        role=asked.role.value,
        fields=KeyFields.model_validate(limits),  # those alone that were set
        expires_at=expires_at,
        act=describe_act(caller, Action.INVITATION_SENT, asked.name, role=asked.role.value, **limits),
    )
    link = f"{api.services.console_url.rstrip('/')}/#code={code}"
    return answer(SentInvitation(**_describe(sent), link=link), status=201)


@router.get(
    "",
    summary="List invitations",
    response_model=defer(OpenInvitations),
    responses=declare_refusals(),
    name="list_invitations",
)
async def list_open(api: Here, caller: Admin) -> Response:
    """List the invitations that are open, without their links."""
    sent = await list_invitations(api.services.pool)
    return answer(OpenInvitations(items=tuple(OpenInvitation(**_describe(invitation)) for invitation in sent)))


@router.delete(
    "/{name}",
    summary="Withdraw an invitation",
    response_model=defer(OpenInvitation),
    responses=declare_refusals(404),
    name="withdraw_invitation",
)
async def withdraw_open(name: Word, api: Here, caller: Admin) -> Response:
    """Make the link of an invitation useless."""
    act = describe_act(caller, Action.INVITATION_WITHDRAWN, name)
    return answer(OpenInvitation(**_describe(await withdraw(api.services.pool, name, act=act))))


def _describe(invitation: Invitation) -> dict[str, Any]:  # of `OpenInvitation`
    return {
        "name": invitation.name,
        "role": invitation.role,
        "limits": request_of(invitation.fields, KeyFields),
        "invited_by": invitation.invited_by,
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
    }
