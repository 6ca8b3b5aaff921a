"""Conversations of the chat: keep, list, search, read, delete. An owner has its own and sees no other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import Query
from starlette.responses import Response

from corral.errors import CorralError, Kind
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Cursor, Id, Limit, Word, find_next, id_of
from corral.server.api.requests import ConversationAsked, TurnAsked
from corral.server.api.routing import make_router
from corral.server.api.state import ApiState, Here, Submitter, Viewer
from corral.server.api.wired import answer, compute, defer, describe_answers
from corral.tasks.store.conversations import (
    Conversation,
    Said,
    Turn,
    WholeConversation,
    add_turn,
    begin_conversation,
    delete_conversation,
    get_conversation,
    list_conversations,
)


class ConversationsOffError(CorralError):
    """The cluster file lets no conversation be kept."""

    code: ClassVar[str] = "conversation.off"
    kind: ClassVar[Kind] = Kind.DENIED


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationPage:
    """Conversations, the last changed first, and where the list goes on."""

    items: tuple[Conversation, ...]
    next: str | None
    """The cursor of the next page; null at the end."""


router = make_router("conversations", prefix="/corral/v1/conversations", route_class=StrictRoute)

describe_answers(Conversation, WholeConversation, ConversationPage, Turn, Said)


@router.get(
    "",
    summary="List conversations",
    response_model=defer(ConversationPage),
    responses=declare_refusals(),
    name="list_conversations",
)
async def list_own(
    api: Here,
    caller: Viewer,
    search: Annotated[Word | None, Query(description="a part of the title or of what was said, in any case")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List the caller's conversations of the chat, the last changed first."""
    items = await list_conversations(
        api.services.pool, owner=caller.owner, search=search, after=id_of(cursor), limit=limit
    )
    return answer(ConversationPage(items=items, next=find_next(items, limit)))


@router.post(
    "",
    status_code=201,
    summary="Begin a conversation",
    response_model=defer(Conversation),
    responses=declare_refusals(400, 413, 429),
    name="begin_conversation",
)
async def begin(asked: ConversationAsked, api: Here, caller: Submitter) -> Response:
    """Begin a conversation; its turns are added when they are whole. `console.conversations: false` refuses it."""
    _require_keeping(api)
    begun = await begin_conversation(
        api.services.pool, owner=caller.owner, title=asked.title, system=asked.system, models=asked.models
    )
    return answer(begun, status=201)


@router.get(
    "/{id}",
    summary="Show a conversation",
    response_model=defer(WholeConversation),
    responses=declare_refusals(404),
    name="get_conversation",
)
async def get(id: Id, api: Here, caller: Viewer) -> Response:
    """Return one of the caller's conversations with its turns."""
    whole = await get_conversation(api.services.pool, owner=caller.owner, conversation=id)
    return await compute(lambda: whole)  # it can have 32 MiB


@router.post(
    "/{id}/turns",
    status_code=201,
    summary="Add a turn to a conversation",
    response_model=defer(Conversation),
    responses=declare_refusals(400, 404, 413, 429),
    name="add_turn",
)
async def add(id: Id, asked: TurnAsked, api: Here, caller: Submitter) -> Response:
    """Add a question with the answers that came. `console.conversations: false` refuses it."""
    _require_keeping(api)
    turn = Turn(
        asked=asked.asked,
        images=tuple(asked.images),
        answers=tuple(Said(**said.model_dump()) for said in asked.answers),
    )
    return answer(await add_turn(api.services.pool, owner=caller.owner, conversation=id, turn=turn), status=201)


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete a conversation",
    responses=declare_refusals(404),
    name="delete_conversation",
)
async def delete(id: Id, api: Here, caller: Submitter) -> Response:
    """Delete one of the caller's conversations for good."""
    await delete_conversation(api.services.pool, owner=caller.owner, conversation=id)
    return Response(status_code=204)


def _require_keeping(api: ApiState) -> None:
    if not api.services.cluster.keeps_conversations:
        raise ConversationsOffError(
            "this server keeps no conversations", hint="set `console.conversations: true` in the cluster file"
        )
