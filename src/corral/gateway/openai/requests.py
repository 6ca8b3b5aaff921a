"""Requests of OpenAI's clients, as each server is asked them.

A body is parsed once, for its model; it goes on as it came where the server takes the same name and nothing has to be
repaired: Ollama ignores the newer name of the bound of an answer, and its ids are random below 1,000, so they collide;
tokens of a stream can be wanted for accounts although the client did not ask for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar
from uuid import uuid4

from pydantic_core import to_json

from corral.engine_kinds import OLLAMA
from corral.errors import CorralError, Kind
from corral.gateway.catalogue import Offer
from corral.gateway.editing import EventEditor, PieceEditor, TokenReader, WholeEditor, chain
from corral.gateway.parsing import parse
from corral.gateway.passing import CallMissingError, Prepared
from corral.gateway.tool_calls import StreamRepair, list_tools, repair_whole
from corral.narrowing import as_list, as_object, as_text
from corral.slots.guests import Choice
from corral.work import Dialect, Endpoint, Json

PREFIX = 2048
"""Characters of a prompt by which a slot is found whose server has read the same before."""
_ID = re.compile(rb'"id":\s*"(chatcmpl|cmpl)-[^"]*"')
_USAGE_ALONE = re.compile(rb'"choices":\s*\[\]')


class RequestBodyError(CorralError):
    """A body cannot be used."""

    code: ClassVar[str] = "request.invalid"
    kind: ClassVar[Kind] = Kind.INVALID


class Asked:
    """A request's body, parsed."""

    def __init__(self, path: str, body: bytes) -> None:
        """Raises: RequestBodyError."""
        self.path = path
        self._body = body
        try:
            fields = parse(body)
        except ValueError as error:
            raise RequestBodyError(f"the body is not JSON: {error}", hint="send an object in JSON") from error
        if not isinstance(fields, dict):
            raise RequestBodyError("the body is not an object", hint="send an object with `model`")
        self.fields = as_object(fields)
        self.model = as_text(self.fields.get("model"))
        if not self.model:
            raise RequestBodyError("`model` is missing", where="model", hint="name one that `GET /v1/models` lists")

    @property
    def streams(self) -> bool:
        """Whether the answer is wanted piece by piece."""
        return self.fields.get("stream") is True

    @property
    def prefix(self) -> str:
        """The beginning of its prompt."""
        return read_prefix(self.fields)

    def prepare(self, endpoint: Endpoint, choice: Choice, *, counts_tokens: bool) -> Prepared:
        """Make it for one server. Raises: CallMissingError."""
        require_dialect(endpoint, choice)
        model = endpoint.model or choice.model or self.model
        changes: dict[str, Json] = {} if model == self.model else {"model": model}
        events: list[Callable[[bytes], bytes]] = []
        if choice.engine == OLLAMA.name:
            changes |= self._repair_for_ollama()
            events.append(make_id_change())
        options = as_object(self.fields.get("stream_options"))
        if self.streams and counts_tokens and not options.get("include_usage"):
            changes["stream_options"] = {**options, "include_usage": True}
            events.append(drop_usage)
        body = to_json({**self.fields, **changes}) if changes else self._body
        return Prepared(path=self.path, body=body, editor=self._choose_editor(events, counts_tokens=counts_tokens))

    def _repair_for_ollama(self) -> dict[str, Json]:
        if self.fields.get("n") not in (None, 1):
            raise CallMissingError("Ollama writes one answer, and ignores `n`", where="n")
        limit = self.fields.get("max_completion_tokens")
        return {} if limit is None or "max_tokens" in self.fields else {"max_tokens": limit}

    def _choose_editor(self, events: list[Callable[[bytes], bytes]], *, counts_tokens: bool) -> PieceEditor | None:
        tools = list_tools(self.fields) if "tools" in self.fields else frozenset[str]()
        if tools and self.streams:
            repair = StreamRepair(tools)
            return EventEditor(chain([*events, repair.take_event]), end=repair.end)
        if tools:
            events = [*events, partial(repair_whole, tools=tools)]
        if events:
            return (EventEditor if self.streams else WholeEditor)(chain(events))
        return TokenReader() if counts_tokens else None


def require_dialect(endpoint: Endpoint, choice: Choice) -> None:
    """Return when a server speaks OpenAI's protocol. Raises: CallMissingError."""
    if Dialect.OPENAI not in endpoint.dialects:
        raise CallMissingError(f"the server of {choice.engine!r} does not speak OpenAI's protocol")


def read_prefix(fields: Mapping[str, Json]) -> str:
    """Return the beginning of a prompt, whichever field it is in; empty where it is not text."""
    if "messages" not in fields:
        return as_text(fields.get("prompt", fields.get("input")))[:PREFIX]
    texts: list[str] = []
    size = 0
    for message in as_list(fields["messages"]):
        content = as_object(message).get("content")
        parts = [as_text(as_object(part).get("text")) for part in as_list(content)]
        texts.append("".join((as_text(content), *parts))[:PREFIX])
        size += len(texts[-1])
        if size >= PREFIX:
            break
    return "\n".join(texts)[:PREFIX]


def make_id_change() -> Callable[[bytes], bytes]:
    """Return a change that gives every event of one answer the same id, which no other answer has."""
    own = uuid4().hex.encode()
    return lambda event: _ID.sub(rb'"id":"\1-' + own + b'"', event, count=1)


def drop_usage(event: bytes) -> bytes:
    """Drop the event that has counts alone, for a client that did not ask for them."""
    return b"" if b'"usage"' in event and _USAGE_ALONE.search(event) else event


def list_served_engines(offer: Offer, engines: frozenset[str]) -> Offer:
    """Return what of an offer these engines can serve. Raises: CallMissingError where that is nothing."""
    kept = offer.keep(engines)
    if kept.models or kept.fallback:
        return kept
    others = ", ".join(sorted({model.engine for model in offer.models})) or "a workflow"
    raise CallMissingError(f"{offer.name!r} is a model of {others}, which does not do this", where="model")
