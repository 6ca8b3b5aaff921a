"""An engine that sleeps, and that has to load a model before it can."""

from __future__ import annotations

import asyncio

from corral.engines.sleep.engine import SleepingEngine
from corral.work import Produced, Reporter, Resident, Work


class LoadingEngine(SleepingEngine):
    """Stands for an engine that holds one model at a time, as those of llama.cpp and ComfyUI do.

    It is the product's `sleep` engine, with a wait of `load_s` before a task whose model is not the one it holds. That
    a real engine is told its model, keeps it between tasks and is asked what it holds was checked against
    `corral.work.Engine` (the type checker) and the local engines' own tests.
    """

    def __init__(self, load_s: float) -> None:
        super().__init__()
        self._load_s = load_s
        self._held: str | None = None

    async def run(self, work: Work, report: Reporter) -> Produced:
        if work.model != self._held:
            await asyncio.sleep(self._load_s)
            self._held = work.model
        return await super().run(work, report)

    async def resident(self) -> tuple[Resident, ...]:
        return () if self._held is None else (Resident(model=self._held),)
