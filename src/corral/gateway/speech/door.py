"""The door of speech: `/v1/audio/*`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from corral.errors import CorralError
from corral.gateway.asgi import ClientGoneError, Exchange, Scope
from corral.gateway.doors import RouteMissingError, Visitor
from corral.gateway.openai.shape import OpenAiShape
from corral.gateway.speech.hearing import Hearing
from corral.gateway.speech.keeping import VoiceKeeping
from corral.gateway.speech.models import HEARERS, SPEAKERS
from corral.gateway.speech.parts import SpeechParts
from corral.gateway.speech.speaking import Speaking
from corral.gateway.statuses import list_headers

_log = structlog.get_logger()

_PREFIX = "/v1/audio/"
_ID = re.compile(r"^voices/[^/]+$")
Serve = Callable[[Exchange, Visitor], Awaitable[None]]


class SpeechDoor:
    """Serves speech, transcriptions, translations and voices."""

    paths = (_PREFIX,)

    def __init__(self, parts: SpeechParts) -> None:
        self._parts = parts
        hearing, self._keeping = Hearing(parts), VoiceKeeping(parts)
        self._routes: Mapping[tuple[str, str], Serve] = {
            ("POST", "speech"): Speaking(parts).speak,
            ("POST", "transcriptions"): hearing.transcribe,
            ("POST", "translations"): hearing.translate,
            ("GET", "voices"): self._keeping.list,
            ("POST", "voices"): self._keeping.create,
            ("DELETE", "voices/{id}"): self._keeping.delete,
            ("GET", "models"): self._list_models,
        }

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one request."""
        if scope["type"] != "http":
            return  # a websocket is refused by the server
        exchange = Exchange(scope, receive, send)
        try:
            serve = self._find_route(exchange)
            await serve(exchange, await self._admit(exchange, serve))
        except ClientGoneError:
            pass
        except CorralError as error:
            if exchange.started:  # what was sent cannot say that it failed: it breaks off
                _log.warning("answer_broken_off", path=exchange.path, because=error.what)
                return
            status, body = OpenAiShape().write_error(error)
            await exchange.answer(status, body, "application/json", list_headers(error))

    async def close(self) -> None:
        """Nothing: what is open belongs to requests, and the way to servers to the OpenAI door."""

    def _find_route(self, exchange: Exchange) -> Serve:
        method = "GET" if exchange.method == "HEAD" else exchange.method
        rest = _ID.sub("voices/{id}", exchange.path.removeprefix(_PREFIX))
        serve = self._routes.get((method, rest))
        if serve is None:
            methods = [known for known, path in self._routes if path == rest]
            hint = f"use {', '.join(methods)}" if methods else "see docs/doors/speech.md"
            raise RouteMissingError(f"there is no {method} {exchange.path} here", hint=hint)
        return serve

    async def _admit(self, exchange: Exchange, serve: Serve) -> Visitor:
        if serve in (self._keeping.list, self._list_models) and self._parts.lists_are_public():
            return Visitor(owner="", can_submit=False)
        return await self._parts.doorman.admit(exchange.scope)

    async def _list_models(self, exchange: Exchange, visitor: Visitor) -> None:
        catalogue = self._parts.passing.catalogue
        await catalogue.ready()
        offers = [offer.keep(SPEAKERS | HEARERS) for offer in catalogue.list_offers()]
        listed = [
            {"id": offer.name, "name": offer.name} for offer in offers if offer.models and visitor.can_use(offer.name)
        ]
        await exchange.answer_json(200, {"object": "list", "data": listed, "models": listed})
