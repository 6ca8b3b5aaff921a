"""Parts of the routes of speech: what they work with, a guest's work here, and passing on to servers elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from corral.engine_kinds import OPENAI
from corral.gateway.asgi import Exchange
from corral.gateway.catalogue import Offer
from corral.gateway.doors import Doorman, Visitor
from corral.gateway.openai.shape import OpenAiShape
from corral.gateway.passing import Errand, Passing, Prepared
from corral.gateway.speech.voices import VoiceBook
from corral.gateway.speech.working import Done, Order, Show, Workshop
from corral.gateway.usage import Served, count
from corral.slots.guests import Choice, GuestAsk
from corral.work import Endpoint, Json

_DOOR = "speech"
_EVENTS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechParts:
    """The surroundings of the door."""

    passing: Passing
    doorman: Doorman
    workshop: Workshop
    voices: VoiceBook
    python: Callable[[], str | None]
    """Returns a Python that has PyAV; None where there is none."""
    lists_are_public: Callable[[], bool] = field(default=lambda: False)
    """Whether the lists of voices and models are answered without a key."""

    def count(self, visitor: Visitor, asked: str, offer: Offer) -> AbstractContextManager[None]:
        """Count a request while it lasts. Entering raises: CorralError, where its key has had what it can have."""
        return count(self.passing.sink, visitor, asked, offer.name)

    async def work(
        self,
        visitor: Visitor,
        offer: Offer,
        label: str,
        orders: Mapping[Choice, Order],
        folder: Path,
        show: Show,
        has_begun: Callable[[], bool],
    ) -> Done:
        """Do the work of a guest whose request is counted, and account for it. Raises: CorralError."""
        ask = GuestAsk(owner=visitor.owner, choices=offer.choices, label=f"{label} {offer.name}")
        done = await self.workshop.do(ask, orders, folder, show, has_begun)
        served = Served(
            visitor=visitor,
            model=offer.name,
            door=_DOOR,
            slot=done.slot,
            engine=done.engine,
            seconds=done.seconds,
        )
        self.passing.sink.record(served)
        done.when_measured(partial(self.passing.sink.record_energy, served))
        return done

    async def pass_on(
        self,
        exchange: Exchange,
        visitor: Visitor,
        offer: Offer,
        label: str,
        prepare: Callable[[Endpoint, Choice], Prepared],
        *,
        streams: bool = False,
    ) -> None:
        """Let a server that has the route itself answer a request that is counted. Raises: CorralError."""
        errand = Errand(
            visitor=visitor,
            offer=offer.keep(frozenset({OPENAI.name})),
            label=f"{label} {offer.name}",
            door=_DOOR,
            shape=OpenAiShape("comments", offer.name),
            prepare=prepare,
            streams=streams,
        )
        await self.passing.serve(exchange, errand)


async def write_event(exchange: Exchange, event: Mapping[str, Json]) -> None:
    """Send an event of a stream, and begin the stream with the first one."""
    if not exchange.started:
        await exchange.start(200, _EVENTS)
    await exchange.write(b"data: " + to_json(event) + b"\n\n")


async def wait_for_queue(queue: asyncio.Queue[Any], reader: asyncio.Task[None]) -> None:
    """Wait until everything in a queue was handled. Raises: what ended its reader."""
    joined = asyncio.create_task(queue.join())
    try:
        await asyncio.wait({joined, reader}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        joined.cancel()
    if reader.done():
        reader.result()
