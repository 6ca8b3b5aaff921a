"""A program that serves HTTP on this machine, started when it is asked for and ended whole.

It is ready when its health path answers 200, within a bound. One that ended is started again by the next call that
needs it, after the wait that `restarts` decides; one that keeps failing is out of use, with its last lines as the
reason.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import aiohttp

from corral.errors import CorralError, Kind
from corral.processes.bounded_log import BoundedLog
from corral.processes.child import ChildProcess
from corral.processes.outside import COMMAND_S, Commands, clean_up, forget, note
from corral.processes.restarts import History, OutOfUse, RestartRules, add_end, decide_start

HOST = "127.0.0.1"
"""Servers are for this machine alone; what they serve to others goes through Corral."""
_FIRST_LOOK_S = 0.05
_LONGEST_LOOK_S = 0.5
_HEALTH_S = 2.0
"""For one answer of the health path; a server that is busy loading can be slow."""
_END_MARGIN_S = 2.0
"""Added to a program's own grace: the keeper ends what is left, then itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProgram:
    """How to start one server."""

    name: str
    """For messages: `llama-server`."""
    command: Callable[[int], tuple[str, ...]]
    """Takes the port to listen on, at `HOST`; raises a CorralError where the program is not on this machine."""
    environment: Callable[[int], Mapping[str, str]]
    """Takes the port. Called for each start, in a thread: every process has a mark of its own."""
    health_path: str
    """Answers 200 when the server can work, and anything else or nothing before."""
    port: int | None = None
    """None lets the system choose a free one at each start."""
    folder: Path | None = None
    """Where it runs; None is where this process does."""
    stop_grace_s: float = 2.0
    """Between SIGTERM and SIGKILL."""
    clean_up: Commands = ()
    """Ends what the program has others do for it, and what was left of that, before each start and after each end."""
    log_command: tuple[str, ...] | None = None
    """Prints what the server prints, where the program does not."""


class ServerStartError(CorralError):
    """A server ended before it was ready."""

    code: ClassVar[str] = "process.not_started"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class PortTakenError(ServerStartError):
    """Another program listens on the port that a server was given."""

    code = "process.port_taken"


class ServerLateError(CorralError):
    """A server was not ready within its bound."""

    code: ClassVar[str] = "process.not_ready"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class ServerOutOfUseError(CorralError):
    """A server failed too often in a row and is not started again."""

    code: ClassVar[str] = "process.out_of_use"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class Server:
    """One server: at most one process of it runs at a time."""

    def __init__(self, program: ServerProgram, log: BoundedLog, *, rules: RestartRules | None = None) -> None:
        self._program = program
        self._log = log
        self._rules = rules or RestartRules()
        self._turn = asyncio.Lock()
        self._history = History()
        self._process: ChildProcess | None = None
        self._logger: ChildProcess | None = None
        self._stopped: ChildProcess | None = None
        self._url = ""
        self._ready_at: float | None = None

    @property
    def running(self) -> bool:
        """Whether its process runs and was ready."""
        return self._process is not None and self._process.alive and self._ready_at is not None

    @property
    def has_ended(self) -> bool:
        """Whether its process ended by itself; False where it was asked to stop, or none was started."""
        return self._process is not None and not self._process.alive

    @property
    def pid(self) -> int | None:
        """The process group of what runs; None where nothing does."""
        return self._process.pid if self._process is not None and self._process.alive else None

    def describe_end(self) -> str:
        """Say how the last process ended, and the last lines that it printed."""
        last = self._process or self._stopped
        return "it was never started" if last is None else last.describe_end()

    async def wait(self) -> None:
        """Return when its process has ended; at once where none runs."""
        if self._process is not None:
            await self._process.wait()

    async def ensure_ready(self, *, within_s: float, waiting: Callable[[float], None] = lambda _: None) -> str:
        """Return the URL of the running server, after starting it where it does not run.

        `within_s` bounds one start; `waiting` is called with the seconds since it.
        Raises: ServerStartError, ServerLateError, ServerOutOfUseError, OSError when the program cannot be run.
        """
        async with self._turn:
            if self.running:
                return self._url
            await self._note_end()
            await asyncio.sleep(max(0.0, self._decide_start() - asyncio.get_running_loop().time()))
            return await self._start(within_s, waiting)

    async def check_startable(self) -> None:
        """Return when it runs or could be started now; an end that was not asked for is counted.

        Raises: ServerOutOfUseError, ServerStartError.
        """
        async with self._turn:
            await self._note_end()
            if self._process is not None:
                return
            left_s = self._decide_start() - asyncio.get_running_loop().time()
            if left_s > 0:
                what = f"{self._program.name} failed, and is started again in {left_s:.0f} s: {self.describe_end()}"
                raise ServerStartError(what)
            self._program.command(await self._find_port())

    def forgive(self) -> None:
        """Forget earlier failures: the next call starts it at once."""
        self._history = History()

    def kill(self) -> None:
        """Kill its process at once, without waiting; `stop` must follow."""
        if self._process is not None:
            self._process.kill()

    async def stop(self) -> None:
        """End the server and all that it started; the next `ensure_ready` starts it anew."""
        process, self._process = self._process, None
        self._ready_at = None
        if process is not None:
            self._stopped = process
            await self._end(process, grace_s=self._program.stop_grace_s)

    async def _note_end(self) -> None:
        if self._process is None or not self.has_ended:
            return
        process, self._process, self._stopped = self._process, None, self._process
        now = asyncio.get_running_loop().time()
        self._history = add_end(self._history, ready_at=self._ready_at, now=now, rules=self._rules)
        self._ready_at = None
        await self._end(process)

    async def _end(self, process: ChildProcess, *, grace_s: float = 0.0) -> None:
        """End a process, what it left with others, and what reads its log."""
        commands, logger = self._program.clean_up, self._logger
        margin_s = _END_MARGIN_S + len(commands) * COMMAND_S if grace_s or commands else 0.0
        await process.end(grace_s=grace_s + margin_s)
        if commands:
            if process.was_killed:
                await asyncio.to_thread(clean_up, commands)
            forget(self._log.path)
        if logger is not None:
            self._logger = None
            await logger.end()

    def _decide_start(self) -> float:
        """Return from when on it can be started. Raises: ServerOutOfUseError."""
        decision = decide_start(self._history, rules=self._rules)
        if isinstance(decision, OutOfUse):
            what = f"{self._program.name} failed {decision.failures} times in a row: {self.describe_end()}"
            raise ServerOutOfUseError(what, hint="correct what its last lines report, then start Corral again")
        return decision.at

    async def _start(self, within_s: float, waiting: Callable[[float], None]) -> str:
        program = self._program
        port = await self._find_port()
        environment = await asyncio.to_thread(program.environment, port)
        if program.clean_up:
            await asyncio.to_thread(clean_up, program.clean_up)
            note(self._log.path, program.clean_up)
        command = (*_name_keeper(program.stop_grace_s, program.clean_up), *program.command(port))
        process = await ChildProcess.start(command, environment, self._log, folder=program.folder)
        self._process, self._url = process, f"http://{HOST}:{port}"
        try:
            if program.log_command is not None:
                command = (*_name_keeper(0.0), *program.log_command)
                self._logger = await ChildProcess.start(command, environment, self._log, folder=program.folder)
            async with asyncio.timeout(within_s):
                await self._wait_until_ready(process, waiting)
        except TimeoutError as error:
            await self._end(process, grace_s=program.stop_grace_s)
            what = f"{program.name} was not ready within {within_s:g}s: {self._list_last_lines()}"
            raise ServerLateError(what, where=self._url + program.health_path) from error
        except asyncio.CancelledError:  # not a failure of the server
            self._process, self._stopped = None, process
            process.kill()
            await self._end(process)
            raise
        except BaseException:
            process.kill()
            await self._end(process)
            raise
        self._ready_at = asyncio.get_running_loop().time()
        return self._url

    async def _find_port(self) -> int:
        """Raises: PortTakenError: what answers there would pass for the server."""
        port = self._program.port
        if port is None:
            return _choose_port()
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            return port
        writer.close()
        what = f"{self._program.name} cannot have port {port}: another program listens there"
        raise PortTakenError(what, where=f"{HOST}:{port}", hint="end that program, or leave the port out")

    async def _wait_until_ready(self, process: ChildProcess, waiting: Callable[[float], None]) -> None:
        """Raises: ServerStartError when the process ends first."""
        now = asyncio.get_running_loop().time
        started_at, pause = now(), _FIRST_LOOK_S
        ended = asyncio.create_task(process.wait())
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_HEALTH_S)) as session:
                while not await self._is_healthy(session):
                    waiting(now() - started_at)
                    await asyncio.wait({ended}, timeout=pause)
                    if ended.done():
                        await process.end()  # so that its last lines are read
                        raise ServerStartError(f"{self._program.name} did not start: {process.describe_end()}")
                    pause = min(pause * 1.5, _LONGEST_LOOK_S)
        finally:
            ended.cancel()

    async def _is_healthy(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(self._url + self._program.health_path) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def _list_last_lines(self) -> str:
        return "; ".join(self._log.tail[-4:]) or "it printed nothing"


def _name_keeper(grace_s: float, commands: Commands = ()) -> tuple[str, ...]:
    """Return the command of a keeper, to which that of its program is added."""
    noted = json.dumps([list(command) for command in commands])
    return (sys.executable, "-P", "-m", "corral.processes.keeper", f"{grace_s:g}", noted)


def _choose_port() -> int:
    """Return a port that was free a moment ago; one that is taken meanwhile makes a start that fails."""
    with socket.create_server((HOST, 0)) as listener:
        return listener.getsockname()[1]
