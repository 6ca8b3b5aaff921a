"""A submitted batch, watched to its end: followed, shown, its outputs written, and a question when Ctrl-C is pressed.

Without a terminal, or on the second press, Ctrl-C stops without a question. The answer is read on the event loop, so
the batch goes on, and is followed, while the person thinks.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from corral.cli import terminal
from corral.cli.running.view import View
from corral.client.collecting import Collector
from corral.client.following import Follower
from corral.client.progress import BatchProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Everything that takes part in watching one batch."""

    follower: Follower
    collector: Collector
    batch_progress: BatchProgress
    view: View
    interrupts: Interrupts
    ask: Callable[[], Awaitable[Choice]]
    cancel_batch: Callable[[], Awaitable[None]]

    async def run(self) -> Choice | None:
        """Watch until every task has ended and its outputs are written, or until another choice is made.

        Returns: None at the end of the batch, CANCEL at the end of one that was cancelled here, else LEAVE or STOP.
        Raises: ServerLostError, RemoteError, OutputsIncompleteError, OutputUnwritableError.
        """
        following = asyncio.create_task(self.follower.run())
        collecting = asyncio.create_task(self.collector.run())
        cancelled: Choice | None = None
        try:
            while not await self._show_until_end_or_press(following, collecting):
                choice = await self.ask()
                if choice is Choice.CANCEL:
                    cancelled = choice
                    await self.cancel_batch()
                elif choice is not Choice.CONTINUE:
                    return choice
            return cancelled if await self._drain(collecting) else Choice.LEAVE
        finally:
            await _end(following, collecting)

    async def _show_until_end_or_press(self, following: asyncio.Task[None], collecting: asyncio.Task[None]) -> bool:
        """Show the batch's progress until the batch has ended (True) or Ctrl-C was pressed (False)."""
        showing = asyncio.create_task(self.view.show(self.batch_progress))
        press = asyncio.create_task(self.interrupts.wait_for_press())
        try:
            await asyncio.wait({following, collecting, showing, press}, return_when=asyncio.FIRST_COMPLETED)
            _raise_failure(following, collecting, showing)
            return following.done()
        finally:
            await _end(showing, press)

    async def _drain(self, collecting: asyncio.Task[None]) -> bool:
        """Wait for the last outputs; False when Ctrl-C was pressed meanwhile."""
        draining = asyncio.create_task(self.collector.drain())
        press = asyncio.create_task(self.interrupts.wait_for_press())
        try:
            await asyncio.wait({draining, collecting, press}, return_when=asyncio.FIRST_COMPLETED)
            _raise_failure(collecting, draining)
            return draining.done()
        finally:
            await _end(draining, press)


def _raise_failure(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        if task.done():
            task.result()


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Choice(StrEnum):
    """What to do with the work of an interrupted run."""

    CONTINUE = "c"
    """Watch on."""
    LEAVE = "l"
    """Stop watching; the work goes on in the background."""
    STOP = "s"
    """Stop the server that this run started; running tasks go back to the queue."""
    CANCEL = "x"
    """Cancel the batch."""


_WORDS = {
    Choice.CONTINUE: "[c]ontinue watching",
    Choice.LEAVE: "[l]eave it running in the background",
    Choice.STOP: "[s]top (running tasks go back to the queue; running this again continues)",
    Choice.CANCEL: "cancel the batch [x]",
}


class Interrupts:
    """Ctrl-C as something that can be waited for, instead of an exception from anywhere."""

    def __init__(self) -> None:
        self._pressed = asyncio.Event()

    def note_press(self) -> None:
        """Note one press."""
        self._pressed.set()

    async def wait_for_press(self) -> None:
        """Wait for the next press."""
        await self._pressed.wait()
        self._pressed.clear()

    @contextmanager
    def handle_signals(self) -> Generator[None, None, None]:
        """Catch SIGINT and SIGTERM while the context lasts; the event loop's own handling comes back after it."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        earlier = [signal.getsignal(number) for number in numbers]
        for number in numbers:
            loop.add_signal_handler(number, self.note_press)
        try:
            yield
        finally:
            for number, handler in zip(numbers, earlier, strict=True):
                loop.remove_signal_handler(number)
                signal.signal(number, handler)


async def ask_choice(interrupts: Interrupts, choices: tuple[Choice, ...]) -> Choice:
    """Ask what to do; without a terminal, or when Ctrl-C is pressed again, the answer is the quietest that stops."""
    final = Choice.STOP if Choice.STOP in choices else Choice.LEAVE
    if not terminal.is_attended():
        return final
    terminal.note("\n" + "\n".join(f"  {_WORDS[choice]}" for choice in choices))
    while True:
        sys.stderr.write(f"{'/'.join(choices)}? ")
        sys.stderr.flush()
        answer = asyncio.create_task(_read_line())
        again = asyncio.create_task(interrupts.wait_for_press())
        try:
            await asyncio.wait({answer, again}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() or not answer.result():
                return final  # pressed again, or the terminal is gone
            chosen = read_choice(answer.result(), choices)
        finally:
            answer.cancel()
            again.cancel()
        if chosen is not None:
            return chosen


def read_choice(line: str, choices: tuple[Choice, ...]) -> Choice | None:
    """Understand an answer; None when it is none of the choices."""
    first = line.strip().lower()[:1]
    return next((choice for choice in choices if choice.value == first), None)


async def _read_line() -> str:
    """Read a line from the terminal; empty when it is gone."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(sys.stdin, readable.set)
    try:
        await readable.wait()
        return sys.stdin.readline()
    finally:
        loop.remove_reader(sys.stdin)
