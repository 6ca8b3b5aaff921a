"""The routes of OpenAI's API, as bare ASGI."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from corral.engine_kinds import LLAMA, OLLAMA, OPENAI
from corral.gateway.answering import answer_exchange
from corral.gateway.asgi import Exchange, Scope
from corral.gateway.catalogue import Offer
from corral.gateway.doors import Doorman, Visitor, require_model, require_submitter
from corral.gateway.openai.images import Drawing, Studio, answer_images, make_drawing, read_edit
from corral.gateway.openai.requests import Asked, list_served_engines
from corral.gateway.openai.responses import AskedResponse
from corral.gateway.openai.shape import OpenAiShape, WaitStyle
from corral.gateway.passing import CallMissingError, Errand, Passing, Prepared
from corral.gateway.routes import Routes
from corral.gateway.thirds import is_passed_on
from corral.narrowing import as_text
from corral.work import Json, Use

_log = structlog.get_logger()

WAIT_HEADER = "x-corral-wait"
"""A client that sends it with `comments` or `reasoning` gets its wait in the stream."""
_WRITERS = frozenset({LLAMA.name, OLLAMA.name, OPENAI.name})
_DRAWERS = frozenset({OPENAI.name})
_MODELS = "/v1/models/"


Serve = Callable[[Exchange, Visitor], Awaitable[None]]
Prepare = Callable[..., Prepared]


class OpenAiDoor:
    """OpenAI's API over all instances."""

    paths = ("/v1/",)

    def __init__(self, passing: Passing, doorman: Doorman, studio: Studio | None = None) -> None:
        """Without a studio, models with a workflow draw nothing."""
        self._passing = passing
        self._studio = studio
        self._doorman = doorman
        routes: dict[tuple[str, str], Serve] = {
            ("GET", "/v1/models"): self._list_models,
            ("GET", f"{_MODELS}{{id...}}"): self._show_model,
            ("POST", "/v1/chat/completions"): partial(self._pass_on, "chat"),
            ("POST", "/v1/completions"): partial(self._pass_on, "text"),
            ("POST", "/v1/responses"): partial(self._pass_on, "response", prepare=_prepare_response),
            ("POST", "/v1/images/generations"): self._draw,
            ("POST", "/v1/images/edits"): self._edit,
            ("POST", "/v1/embeddings"): partial(self._pass_on, "vectors", use=Use.EMBEDDING),
        }
        self._routes = Routes(routes, docs="docs/doors/openai.md")

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one request."""
        await answer_exchange(self._serve, OpenAiShape(), scope, receive, send)

    async def close(self) -> None:
        """Close what it has open to servers."""
        await self._passing.close()

    async def _serve(self, exchange: Exchange) -> None:
        route = self._routes.find(exchange)
        await route.serve(exchange, await self._doorman.admit(exchange.scope))

    async def _list_models(self, exchange: Exchange, visitor: Visitor) -> None:
        catalogue = self._passing.catalogue
        await catalogue.ready()
        names = [name for name in catalogue.list_names() if visitor.can_use(name)]
        listed = [(name, catalogue.find_known(name)) for name in names]
        data = [describe_model(name, offer) for name, offer in listed if offer is not None]
        await exchange.answer_json(200, {"object": "list", "data": data})

    async def _show_model(self, exchange: Exchange, visitor: Visitor) -> None:
        name = exchange.path.removeprefix(_MODELS)
        await exchange.answer_json(200, describe_model(name, await self._find(name, visitor)))

    async def _pass_on(
        self,
        label: str,
        exchange: Exchange,
        visitor: Visitor,
        *,
        use: Use = Use.WRITING,
        engines: frozenset[str] = _WRITERS,
        prepare: Callable[[Asked], Prepare] = lambda asked: asked.prepare,
    ) -> None:
        require_submitter(visitor)
        asked = Asked(exchange.path, await exchange.read_body())
        offer = list_served_engines(await self._find(asked.model, visitor), engines)
        waits = _read_waits(exchange)
        errand = Errand(
            visitor=visitor,
            offer=offer,
            asked=asked.model,
            label=f"{label} {offer.name}",
            door="openai",
            shape=OpenAiShape(waits or "comments", offer.name),
            prepare=partial(prepare(asked), counts_tokens=self._passing.sink.counts_tokens),
            streams=asked.streams,
            prefix=asked.prefix,
            use=use,
            wants_waits=waits is not None and asked.streams,
            within_s=offer.within_s,
        )
        await self._passing.pass_on(exchange, errand)

    async def _draw(self, exchange: Exchange, visitor: Visitor) -> None:
        require_submitter(visitor)
        asked = Asked(exchange.path, await exchange.read_body())
        workflow = self._find_workflow(await self._find(asked.model, visitor))
        if workflow is None:
            await self._pass_on("image", exchange, visitor, engines=_DRAWERS)
            return
        await self._make(exchange, visitor, make_drawing(workflow, asked.fields, {}))

    async def _edit(self, exchange: Exchange, visitor: Visitor) -> None:
        require_submitter(visitor)
        fields, files = await read_edit(exchange)
        offer = await self._find(as_text(fields.get("model")), visitor)
        workflow = self._find_workflow(offer)
        if workflow is None:
            raise CallMissingError(f"{offer.name!r} has no workflow that changes images", where="model")
        await self._make(exchange, visitor, make_drawing(workflow, fields, files))

    def _find_workflow(self, offer: Offer) -> str | None:
        return None if offer.settings is None else offer.settings.workflow

    async def _make(self, exchange: Exchange, visitor: Visitor, drawing: Drawing) -> None:
        if self._studio is None:
            raise CallMissingError("this server makes no images", where="model")
        drawing = replace(drawing, comes_from_corral=is_passed_on(exchange.headers))
        await answer_images(exchange, visitor, self._studio, drawing)

    async def _find(self, model: str, visitor: Visitor) -> Offer:
        """Return the model of a request. Raises: ModelUnknownError, NotAllowedError."""
        offer = await self._passing.catalogue.find(model)
        require_model(visitor, model, offer.name)
        return offer


def _prepare_response(asked: Asked) -> Prepare:
    return AskedResponse(asked).prepare


def _read_waits(exchange: Exchange) -> WaitStyle | None:
    match exchange.headers.get(WAIT_HEADER):
        case "comments":
            return "comments"
        case "reasoning":
            return "reasoning"
        case _:
            return None


def describe_model(name: str, offer: Offer) -> dict[str, Json]:
    """Describe a model as OpenAI lists it; its engines own it, and `created` is when its files were.

    `capabilities`, which OpenAI does not have, are in Ollama's words; null where they are unknown.
    """
    facts = [model.facts for model in offer.models if model.facts is not None]
    changed = [fact.modified_at for fact in facts if fact.modified_at is not None]
    engines = [model.engine for model in offer.models] or [cloud.name for cloud in offer.fallback] or ["corral"]
    return {
        "id": name,
        "object": "model",
        "created": int(min(changed).timestamp()) if changed else int(_STARTED_AT),
        "owned_by": ", ".join(dict.fromkeys(engines)),
        "capabilities": _list_capabilities(offer),
    }


def _list_capabilities(offer: Offer) -> list[Json] | None:
    """List what a model can do; where its servers do not say, nothing is known of a model of an engine that writes."""
    known = [model.facts.capabilities for model in offer.models if model.facts is not None]
    said = {word for words in known if words is not None for word in words}
    if said:
        return [*sorted(said)]
    return None if offer.fallback or offer.keep(_WRITERS).models else []


_STARTED_AT = time.time()
