"""What engines that compute nothing share: they need no worker, hold no model, and do things that can be killed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from corral.work import EngineError, EngineUnavailableError, Resident

Result = TypeVar("Result")


class InProcessEngine:
    """A `corral.work.Engine` but for its `run`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._works: set[asyncio.Task[Any]] = set()  # Any: of whatever `_run_killable` is given
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    async def resident(self) -> tuple[Resident, ...]:
        return ()

    async def check(self) -> None:
        return

    async def release(self) -> None:
        return

    async def kill(self) -> None:
        for work in self._works:
            work.cancel()

    async def close(self) -> None:
        self._closed = True
        await self.kill()

    async def _run_killable(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run the task's work until it ends or is killed. Raises: EngineError when it was killed."""
        running = asyncio.create_task(work)
        self._works.add(running)
        try:
            await asyncio.wait((running,))
            if running.cancelled():
                raise EngineError(f"the engine {self._name} was killed")
            return running.result()
        finally:
            running.cancel()
            self._works.discard(running)

    def _check_open(self) -> None:
        """Raises: EngineUnavailableError."""
        if self._closed:
            raise EngineUnavailableError(f"the engine {self._name} is closed", hint="start the server again")
