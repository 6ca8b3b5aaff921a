"""A desk that gives guests turns on engines it was handed, at once and without a queue; stands for `corral.tasks`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from corral.errors import CorralError
from corral.slots.guests import Choice, GuestAsk, GuestRefusedError, GuestView, GuestWait
from corral.work import Engine, FailureScope, SlotId


@dataclass
class GivenTurn:
    """A turn that the desk gave."""

    slot: SlotId
    choice: Choice
    engine: Engine
    because: str = "model resident"
    failures: list[str] = field(default_factory=list[str])

    def fail(self, what: str, scope: FailureScope) -> None:
        del scope
        self.failures.append(what)

    def when_measured(self, note: Callable[[float], None]) -> None:
        """Nothing is measured here, as on a device whose watts are unknown."""


class OpenDesk:
    """Gives every guest a turn at once; `error` is raised instead while it is set."""

    def __init__(self, engines: Mapping[SlotId, Engine]) -> None:
        self.engines = dict(engines)
        self.error: CorralError | None = None
        self.held: asyncio.Event | None = None
        """Guests wait for it where it is set, and see that."""
        self.asks: list[GuestAsk] = []
        self.turns: list[GivenTurn] = []
        self.views: tuple[GuestView, ...] = ()
        """What it lists."""
        self.open = 0
        """Turns that were given and not ended."""
        self.idle = asyncio.Event()
        """Set once a turn has ended and no other is open."""

    @asynccontextmanager
    async def take_turn(
        self, ask: GuestAsk, note: Callable[[GuestWait], None] = lambda _: None
    ) -> AsyncGenerator[GivenTurn]:
        self.asks.append(ask)
        if self.held is not None:
            note(GuestWait(ahead=1, expected_s=20.4, because="slots are busy"))
            await self.held.wait()
        if self.error is not None:
            note(GuestWait(ahead=1, expected_s=None, because="slots are busy"))
            raise self.error
        turn = self._find_turn(ask)
        if turn is None:
            raise GuestRefusedError("no slot can serve this", hint="start an engine")
        self.turns.append(turn)
        self.open += 1
        self.idle.clear()
        try:
            yield turn
        finally:
            self.open -= 1
            if not self.open:
                self.idle.set()

    def list_guests(self) -> tuple[GuestView, ...]:
        return self.views

    def _find_turn(self, ask: GuestAsk) -> GivenTurn | None:
        for choice in ask.choices:
            for slot, engine in self.engines.items():
                if engine.name == choice.engine and slot not in ask.avoid and (ask.only is None or slot in ask.only):
                    return GivenTurn(slot, choice, engine)
        return None
