"""A guest's work on a local engine: its turn, a folder of its own, and what the engine shows meanwhile."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from corral.slots.guests import Choice, GuestAsk, GuestDesk, GuestRefusedError, GuestTurn
from corral.work import EngineError, FailureScope, Json, Produced, SlotId, TaskInvalidError, Work

Show = Callable[[str, bytes], None]
"""Takes the media type and the content of what an engine shows while it works; never blocks."""
LONGEST_S = 3600.0
"""Of one request: an hour of audio on a small processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The work for one engine."""

    inputs: Mapping[str, Json]
    files: Mapping[str, Path] = field(default_factory=dict[str, Path])


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Work that is done; its files are there while the context lasts."""

    produced: Produced
    slot: SlotId
    engine: str
    seconds: float
    """For which the slot's lane was taken for it."""
    when_measured: Callable[[Callable[[float], None]], None]
    """As of the turn in which it was done."""


class Workshop:
    """Where guests of local engines have their work done."""

    def __init__(self, desk: GuestDesk, folder: Path, *, reserve: Callable[[int], None] = lambda _: None) -> None:
        """`folder` is where work is kept while it is done; it is made when it is needed.

        `reserve` returns when the disk has room for so many bytes more, and raises a CorralError when it has not.
        """
        self._desk = desk
        self._folder = folder
        self.reserve = reserve

    @asynccontextmanager
    async def lend_folder(self) -> AsyncGenerator[Path]:
        """Lend a folder for the files of a request. Raises: OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="guest-", dir=self._folder))
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def do(
        self, ask: GuestAsk, orders: Mapping[Choice, Order], folder: Path, show: Show, has_begun: Callable[[], bool]
    ) -> Done:
        """Do the work on one slot, or on the next where one fails before the client has anything of it.

        Raises: EngineError of the last slot; what the desk raises.
        """
        failed: set[SlotId] = set()
        failure: EngineError | None = None
        while True:
            again = GuestAsk(
                owner=ask.owner,
                choices=ask.choices,
                label=ask.label,
                within_s=ask.within_s,
                avoid=ask.avoid | failed,
                only=ask.only,
            )
            try:
                async with self._desk.take_turn(again) as turn:
                    began = time.monotonic()
                    try:
                        produced = await _run(turn, orders[turn.choice], folder, show)
                    except EngineError as error:
                        if error.scope is FailureScope.TASK or has_begun():
                            raise
                        turn.fail(error.what, error.scope)
                        failure = error
                        failed.add(turn.slot)
                        continue
                    seconds = time.monotonic() - began
                    return Done(
                        produced=produced,
                        slot=turn.slot,
                        engine=turn.choice.engine,
                        seconds=seconds,
                        when_measured=turn.when_measured,
                    )
            except GuestRefusedError:
                if failure is None:
                    raise
                raise failure from None


async def _run(turn: GuestTurn, order: Order, folder: Path, show: Show) -> Produced:
    attempt = uuid4()
    scratch = folder / attempt.hex
    await asyncio.to_thread(scratch.mkdir)
    work = Work(
        attempt=attempt,
        task=0,
        engine=turn.choice.engine,
        model=turn.choice.model,
        inputs=order.inputs,
        files=order.files,
        scratch=scratch,
        timeout_s=LONGEST_S,
        slots=(turn.slot,),
    )
    try:
        async with asyncio.timeout(LONGEST_S):
            return await turn.engine.run(work, _Shown(show))
    except TimeoutError as error:
        hint = "submit it as a task, which can take longer"
        raise TaskInvalidError(f"the work was not done within {LONGEST_S:.0f} s", hint=hint) from error


class _Shown:
    """A reporter that hands on what is shown, and drops how far it is."""

    def __init__(self, show: Show) -> None:
        self._show = show

    def progress(self, fraction: float | None, note: str = "") -> None:
        """Drop it: these protocols have no place for it."""

    def preview(self, media_type: str, data: bytes) -> None:
        """Hand it on."""
        self._show(media_type, data)

    def relay(self, event: str, data: Mapping[str, Json]) -> None:
        """Drop it: no client of these protocols speaks an engine's own words."""
