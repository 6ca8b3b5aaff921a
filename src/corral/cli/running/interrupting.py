"""What Ctrl-C means during a run: a question on a terminal, a stop without one or on the second press.

The question is read on the event loop, so the batch goes on, and is followed, while somebody thinks.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum

from corral.cli import terminal


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

    def press(self) -> None:
        """Note one press."""
        self._pressed.set()

    async def pressed(self) -> None:
        """Wait for the next press."""
        await self._pressed.wait()
        self._pressed.clear()

    @contextmanager
    def caught(self) -> Generator[None, None, None]:
        """Catch SIGINT and SIGTERM while the context lasts; the event loop's own handling comes back after it."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        earlier = [signal.getsignal(number) for number in numbers]
        for number in numbers:
            loop.add_signal_handler(number, self.press)
        try:
            yield
        finally:
            for number, handler in zip(numbers, earlier, strict=True):
                loop.remove_signal_handler(number)
                signal.signal(number, handler)


async def ask(interrupts: Interrupts, choices: tuple[Choice, ...]) -> Choice:
    """Ask what to do; without a terminal, or when Ctrl-C is pressed again, the answer is the quietest that stops."""
    final = Choice.STOP if Choice.STOP in choices else Choice.LEAVE
    if not terminal.is_attended():
        return final
    terminal.say("\n" + "\n".join(f"  {_WORDS[choice]}" for choice in choices))
    while True:
        sys.stderr.write(f"{'/'.join(choices)}? ")
        sys.stderr.flush()
        answer = asyncio.create_task(_line())
        again = asyncio.create_task(interrupts.pressed())
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


async def _line() -> str:
    """Read a line from the terminal; empty when it is gone."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(sys.stdin, readable.set)
    try:
        await readable.wait()
        return sys.stdin.readline()
    finally:
        loop.remove_reader(sys.stdin)
