"""The door of speech: `/v1/audio/*`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from corral.gateway.answering import answer_exchange
from corral.gateway.asgi import Exchange, Scope
from corral.gateway.doors import Visitor
from corral.gateway.openai.shape import OpenAiShape
from corral.gateway.routes import Routes
from corral.gateway.speech.hearing import Hearing
from corral.gateway.speech.keeping import VoiceKeeping
from corral.gateway.speech.models import HEARERS, SPEAKERS, describe_abilities
from corral.gateway.speech.parts import SpeechParts
from corral.gateway.speech.speaking import Speaking

_PREFIX = "/v1/audio/"
Serve = Callable[[Exchange, Visitor], Awaitable[None]]


class SpeechDoor:
    """Serves speech, transcriptions, translations and voices."""

    paths = (_PREFIX,)

    def __init__(self, parts: SpeechParts) -> None:
        self._parts = parts
        hearing, self._keeping = Hearing(parts), VoiceKeeping(parts)
        routes: Mapping[tuple[str, str], Serve] = {
            ("POST", "speech"): Speaking(parts).speak,
            ("POST", "transcriptions"): hearing.transcribe,
            ("POST", "translations"): hearing.translate,
            ("GET", "voices"): self._keeping.list,
            ("POST", "voices"): self._keeping.create,
            ("DELETE", "voices/{id}"): self._keeping.delete,
            ("GET", "models"): self._list_models,
        }
        self._routes = Routes(routes, below=_PREFIX, docs="docs/doors/speech.md")

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one request."""
        await answer_exchange(self._serve, OpenAiShape(), scope, receive, send)

    async def close(self) -> None:
        """Nothing: what is open belongs to requests, and the way to servers to the OpenAI door."""

    async def _serve(self, exchange: Exchange) -> None:
        route = self._routes.find(exchange)
        await route.serve(exchange, await self._admit(exchange, route.serve))

    async def _admit(self, exchange: Exchange, serve: Serve) -> Visitor:
        if serve in (self._keeping.list, self._list_models) and self._parts.lists_are_public():
            return Visitor(owner="", can_submit=False)
        return await self._parts.doorman.admit(exchange.scope)

    async def _list_models(self, exchange: Exchange, visitor: Visitor) -> None:
        catalogue = self._parts.passing.catalogue
        await catalogue.ready()
        offers = [offer.keep(SPEAKERS | HEARERS) for offer in catalogue.list_offers()]
        listed = [
            {"id": offer.name, "name": offer.name, **describe_abilities(offer)}
            for offer in offers
            if offer.models and visitor.can_use(offer.name)
        ]
        await exchange.answer_json(200, {"object": "list", "data": listed, "models": listed})
