"""Engines for tests of the dispatcher.

`ScriptedEngine` stands for any engine: the test says when a run ends and how. It was checked against the protocol
`corral.work.Engine` (the type checker), and honours it: a cancelled run raises `CancelledError` unless it is told to
hang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from corral.work import EngineUnavailableError, Produced, Reporter, Resident, Work

Script = Callable[[Work, Reporter], Awaitable[Produced]]


async def succeed(work: Work, report: Reporter) -> Produced:
    """End at once, well."""
    return Produced(values={"ok": True})


class ScriptedEngine:
    """Runs a script for every attempt, and keeps what it was asked."""

    def __init__(self, script: Script = succeed, *, name: str = "sleep") -> None:
        self.script = script
        self.runs: list[Work] = []
        self.kills = 0
        self.problem: str | None = None
        self.held: tuple[Resident, ...] = ()
        self.started = asyncio.Event()
        self._name = name
        self._killed = asyncio.Event()

    @property
    def name(self) -> str:
        return self._name

    async def run(self, work: Work, report: Reporter) -> Produced:
        self.runs.append(work)
        self.started.set()
        return await self.script(work, report)

    async def resident(self) -> tuple[Resident, ...]:
        return self.held

    async def check(self) -> None:
        if self.problem is not None:
            raise EngineUnavailableError(self.problem)

    async def release(self) -> None:
        self.held = ()

    async def kill(self) -> None:
        self.kills += 1
        self._killed.set()

    async def close(self) -> None:
        return

    async def hang_until_killed(self, work: Work, report: Reporter) -> Produced:
        """A script that ignores cancellation, as a program stuck in a driver does."""
        while not self._killed.is_set():
            try:
                await self._killed.wait()
            except asyncio.CancelledError:
                continue
        return Produced()
