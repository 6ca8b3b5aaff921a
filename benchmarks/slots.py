"""How well the dispatcher keeps slots busy: occupancy, and the gap between two runs on one slot.

Ten slots, tasks that sleep, the real dispatcher, a durable database. Both figures are taken inside the engine: a gap
is the time from the end of one run on a slot to the begin of the next, with everything that lies between: the outcome's
and the next lease's durable commit, the decision, and the start.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import structlog

from benchmarks.database import Server, server
from benchmarks.table import machine, percentile, show
from benchmarks.yard import dispatching, submit_tasks, until_ended
from corral.engines.sleep.engine import SleepingEngine
from corral.tasks.migrations import migrate
from corral.tasks.store.pool import open_pool
from corral.work import Produced, Reporter, Work

SLOTS = 10


class TimedEngine(SleepingEngine):
    """The sleeping engine, which also keeps when each run began and ended."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[tuple[float, float]] = []

    async def run(self, work: Work, report: Reporter) -> Produced:
        begun = time.perf_counter()
        try:
            return await super().run(work, report)
        finally:
            self.runs.append((begun, time.perf_counter()))

    def gaps(self) -> list[float]:
        """Return the seconds between each run's end and the next one's begin."""
        return [after[0] - before[1] for before, after in pairwise(self.runs)]


async def _measure(running: Server, tasks: int, seconds: float) -> list[TimedEngine]:
    url = await running.fresh("benchmark")
    await migrate(url)
    pool = await open_pool(url)
    await submit_tasks(pool, tasks, 500, seconds)
    engines = [TimedEngine() for _ in range(SLOTS)]
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as folder:
        async with dispatching(url, pool, Path(folder), engines):
            await asyncio.sleep(tasks * seconds / SLOTS * 0.95)  # the wait for the end would itself be load
            await until_ended(pool)
    await pool.close()
    return engines


def _row(tasks: int, seconds: float, engines: Sequence[TimedEngine]) -> tuple[str, ...]:
    runs = [run for engine in engines for run in engine.runs]
    span = max(end for _, end in runs) - min(begin for begin, _ in runs)
    occupancy = sum(end - begin for begin, end in runs) / (SLOTS * span)
    gaps = [gap * 1000 for engine in engines for gap in engine.gaps()]
    figures = (percentile(gaps, 0.5), percentile(gaps, 0.9), percentile(gaps, 0.99), max(gaps))
    return (f"{tasks:,} tasks of {seconds:g} s", f"{occupancy:.2%}", *(f"{figure:.1f}" for figure in figures))


def main() -> None:
    """Run both lengths and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 tasks of 1 s instead of 1,000")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rows: list[tuple[str, ...]] = []
    with server() as running:
        described = asyncio.run(running.describe())
        for tasks, seconds in ((1000, 0.1), (100 if chosen.quick else 1000, 1.0)):
            rows.append(_row(tasks, seconds, asyncio.run(_measure(running, tasks, seconds))))
    head = (f"{SLOTS} slots", "occupancy", "gap p50 (ms)", "gap p90 (ms)", "gap p99 (ms)", "gap max (ms)")
    show("Slots", head, rows, [described, machine()])


if __name__ == "__main__":
    main()
