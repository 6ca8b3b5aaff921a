"""The routes of Anthropic's Messages API, as bare ASGI."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from pydantic_core import to_json

from corral.engine_kinds import LLAMA, OLLAMA, OPENAI
from corral.errors import CorralError, Kind
from corral.gateway.answering import answer_exchange
from corral.gateway.anthropic.shape import AnthropicShape
from corral.gateway.asgi import Exchange, Scope
from corral.gateway.catalogue import Offer
from corral.gateway.doors import Doorman, Visitor, require_model, require_submitter
from corral.gateway.editing import TokenReader
from corral.gateway.parsing import parse
from corral.gateway.passing import CallMissingError, Errand, Passing, Prepared
from corral.gateway.routes import Route, RouteMissingError, name_route
from corral.narrowing import as_list, as_object, as_text
from corral.slots.guests import Choice
from corral.work import Dialect, Endpoint, Json

MESSAGES = "/v1/messages"
COUNT = f"{MESSAGES}/count_tokens"
PREFIX = 2048
"""Characters of a prompt by which a slot is found whose server has read the same before."""
_WRITERS = frozenset({LLAMA.name, OLLAMA.name, OPENAI.name})


class MessagesBodyError(CorralError):
    """A body cannot be used."""

    code: ClassVar[str] = "request.invalid"
    kind: ClassVar[Kind] = Kind.INVALID


class AnthropicDoor:
    """The Messages API over all instances that have it."""

    paths = (MESSAGES, f"{MESSAGES}/")

    def __init__(self, passing: Passing, doorman: Doorman) -> None:
        """`passing` is shared with other doors; its owner closes it."""
        self._passing = passing
        self._doorman = doorman

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one request."""
        await answer_exchange(self._serve, AnthropicShape(), scope, receive, send)

    async def close(self) -> None:
        """Return: everything it has open is shared."""

    async def _serve(self, exchange: Exchange) -> None:
        if exchange.method != "POST" or exchange.path not in (MESSAGES, COUNT):
            raise RouteMissingError(f"there is no {exchange.method} {exchange.path} here", hint=f"POST {MESSAGES}")
        name_route(exchange.scope, Route(exchange.path))
        await self._pass_on(exchange, await self._doorman.admit(exchange.scope))

    async def _pass_on(self, exchange: Exchange, visitor: Visitor) -> None:
        require_submitter(visitor)
        body = await exchange.read_body()
        fields = _read_fields(body)
        model = as_text(fields.get("model"))
        if not model:
            raise MessagesBodyError("`model` is missing", where="model", hint="name one that `GET /v1/models` lists")
        offer = _keep_writers(await self._passing.catalogue.find(model))
        require_model(visitor, model, offer.name)
        errand = Errand(
            visitor=visitor,
            offer=offer,
            asked=model,
            label=f"messages {offer.name}",
            door="anthropic",
            shape=AnthropicShape(),
            prepare=partial(
                _prepare, exchange.path, body, fields, counts_tokens=self._passing.sink.counts_tokens, asked=model
            ),
            streams=fields.get("stream") is True,
            prefix=_read_prefix(fields),
        )
        await self._passing.pass_on(exchange, errand)


def _prepare(
    path: str,
    body: bytes,
    fields: dict[str, Json],
    endpoint: Endpoint,
    choice: Choice,
    *,
    counts_tokens: bool,
    asked: str,
) -> Prepared:
    """Make the request for one server, which says itself that it lacks the route. Raises: CallMissingError."""
    if not endpoint.dialects & {Dialect.OLLAMA, Dialect.OPENAI}:
        raise CallMissingError(f"the server of {choice.engine!r} does not have Anthropic's Messages API")
    model = endpoint.model or choice.model or asked
    sent = body if model == asked else to_json({**fields, "model": model})
    return Prepared(path=path, body=sent, editor=TokenReader() if counts_tokens else None)


def _read_fields(body: bytes) -> dict[str, Json]:
    try:
        fields = parse(body)
    except ValueError as error:
        raise MessagesBodyError(f"the body is not JSON: {error}", hint="send an object in JSON") from error
    if not isinstance(fields, dict):
        raise MessagesBodyError("the body is not an object", hint="send an object with `model`")
    return as_object(fields)


def _keep_writers(offer: Offer) -> Offer:
    """Return what of an offer can have the API, without providers elsewhere. Raises: CallMissingError."""
    kept = offer.keep(_WRITERS)
    if kept.models:
        return replace(kept, settings=None)
    raise CallMissingError(f"no server of {offer.name!r} has Anthropic's Messages API", where="model")


def _read_prefix(fields: dict[str, Json]) -> str:
    """Return the beginning of a prompt: its system text, then its turns."""
    turns = [as_object(turn).get("content") for turn in as_list(fields.get("messages"))[:4]]
    return "\n".join(_read_text(content) for content in (fields.get("system"), *turns))[:PREFIX]


def _read_text(content: Json) -> str:
    return as_text(content) or "".join(as_text(as_object(part).get("text")) for part in as_list(content))
