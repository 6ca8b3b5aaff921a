"""A program of the user under a hold: wait for GPUs, start it with them, keep them while it runs, give them back.

Between this command and the program is a keeper (`corral.processes.lent`), so that however this command dies, the
program ends and does not compute on GPUs that are another's. Signals pass through, and the exit code is the program's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import NoReturn, TypeVar
from uuid import uuid4

from corral.cli import terminal
from corral.client.holding import Holder, describe_loss
from corral.errors import CorralError
from corral.printable import make_printable_line
from corral.processes.kernel import leave_as
from corral.processes.leftovers import MARK, end_marked
from corral.processes.signals import take_signals
from corral.units import format_duration
from corral.work import Json

STOP_S = 10.0
"""Between SIGTERM and SIGKILL for a program whose GPUs are taken back."""
_SAY_EVERY_S = 30.0
"""Where no terminal shows a line that changes."""
_T = TypeVar("_T")
_Signals = asyncio.Queue[tuple[int, bool]]


class Interrupted(Exception):
    """A signal came before the program was started."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_with_gpus(holder: Holder, take: Callable[[Holder], Awaitable[Json]], command: Sequence[str]) -> NoReturn:
    """Run a program under the hold that `take` returns, and end this process as the program ends.

    Raises: HoldLostError, RemoteError, NoServerError before the program is started.
    """
    loop_of_signals: list[tuple[asyncio.AbstractEventLoop, _Signals]] = []

    def note(number: int, from_terminal: bool) -> None:
        for loop, signals in loop_of_signals:
            loop.call_soon_threadsafe(signals.put_nowait, (number, from_terminal))

    take_signals(note)

    async def run() -> int:
        signals = _Signals()
        loop_of_signals.append((asyncio.get_running_loop(), signals))
        try:
            hold = await _unless_interrupted(take(holder), signals)
            return await _run_program(holder, hold, command, signals)
        finally:
            await holder.release()
            await holder.close()

    try:
        code = asyncio.run(run())
    except Interrupted as interrupted:
        code = -interrupted.number
    sys.stdout.flush()
    leave_as(code)


async def _unless_interrupted(work: Awaitable[_T], signals: _Signals) -> _T:
    """Return what the work returns. Raises: Interrupted when a signal comes first."""
    working, waiting = asyncio.ensure_future(work), asyncio.create_task(signals.get())
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Interrupted(waiting.result()[0])
    finally:
        for task in (working, waiting):
            task.cancel()
            with suppress(asyncio.CancelledError, CorralError):
                await task


async def _run_program(holder: Holder, hold: Json, command: Sequence[str], signals: _Signals) -> int:
    mark = f"hold#{uuid4().hex}"
    environment = {**os.environ, **hold["environment"], MARK: mark}
    passing, kept = os.pipe()
    with FileIO(kept, "wb") as lifeline:
        try:
            keeper = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "corral.processes.lent", str(passing), f"{STOP_S:g}", *command),
                env=environment,
                pass_fds=(passing,),
            )
        finally:
            os.close(passing)
        code = await _keep_both(holder, keeper, lifeline, signals)
    if code == -signal.SIGKILL:  # the keeper, perhaps: then nothing else ends what the program left
        await asyncio.to_thread(end_marked, mark, spare=os.getpid())
    return code


async def _keep_both(holder: Holder, keeper: asyncio.subprocess.Process, lifeline: FileIO, signals: _Signals) -> int:
    """Renew the hold and pass signals on until the program has ended; return how it did.

    The lifeline is closed where the hold is lost.
    """
    ending, keeping = asyncio.create_task(keeper.wait()), asyncio.create_task(holder.keep())
    waiting = asyncio.create_task(signals.get())
    try:
        while not ending.done():
            await asyncio.wait(
                {ending, waiting} | ({keeping} if not keeping.done() else set()), return_when=asyncio.FIRST_COMPLETED
            )
            if waiting.done():
                number, from_terminal = waiting.result()
                if not from_terminal and not lifeline.closed:  # a terminal's has reached the program already
                    with suppress(OSError):
                        lifeline.write(bytes([number]))
                waiting = asyncio.create_task(signals.get())
            if keeping.done() and not lifeline.closed and not ending.done():
                terminal.note(f"{describe_loss(keeping.result())}; the program gets {STOP_S:g} s to stop")
                lifeline.close()
        return ending.result()
    finally:
        for task in (ending, keeping, waiting):
            task.cancel()


class WaitLine:
    """Shows what a hold waits for: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._is_live = sys.stderr.isatty()
        self._shown = ""
        self._shown_at = 0.0
        self._width = terminal.count_error_columns()

    def show(self, hold: Json) -> None:
        """Show a hold that was just looked at."""
        text = describe_wait(hold)
        now = asyncio.get_running_loop().time()
        if self._is_live:
            line = make_printable_line(text)
            sys.stderr.write(f"\r\x1b[K{line[: self._width]}")
            sys.stderr.flush()
        elif text != self._shown and (not self._shown or now - self._shown_at >= _SAY_EVERY_S):
            terminal.note(text)
            self._shown_at = now
        self._shown = text

    def end(self, hold: Json) -> None:
        """Show that the hold was granted."""
        if self._is_live and self._shown:
            sys.stderr.write("\r\x1b[K")
        terminal.note(describe_start(hold))


def describe_wait(hold: Json) -> str:
    """Say in one line why a hold waits, and until when."""
    if hold["state"] == "starting":
        return f"starting  {hold['note'] or 'the GPUs are made free'}"
    waits: Json = hold["waits"] or {}
    error: Json = hold["error"] or {}
    at = waits.get("may_start_at")
    left_s = (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds() if at else 0
    place = f"{_write_ordinal(waits['ahead'] + 1)} in line" if waits.get("ahead") is not None else ""
    expected = f"about {format_duration(left_s)}" if left_s > 1 else ""
    turn = ", ".join(filter(None, (place, expected)))
    reason = error.get("what") or waits.get("summary") or "the server has not looked at it yet"
    return f"waiting   {f'{turn}: ' if turn else ''}{reason}"


def _write_ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def describe_start(hold: Json) -> str:
    """Say in one line which devices a program has."""
    at = datetime.fromisoformat(hold["granted_at"]).astimezone()
    devices = ", ".join(
        device["device"] + (f" ({device['model']})" if device["model"] != "cpu" else "") for device in hold["devices"]
    )
    note = f"; {hold['note']}" if hold["note"] else ""
    return f"started   {at:%H:%M} on {devices}{note}"


def start_detached(id: int, command: Sequence[str], options: Sequence[str], log: Path) -> int:
    """Start the command that keeps a hold in the background, and return its process; it prints into a log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "corral", "hold", "--hold", str(id), *options, "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return process.pid
