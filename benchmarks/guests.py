"""Guests beside a night of tasks: how long they wait, and how busy the slots are meanwhile.

Four slots, 2,000 batch tasks that sleep, 200 guests that come in turn, the real dispatcher, a durable database. A slot
is busy while its engine runs a task or a guest has it; both are timed on the slot itself. The last row is what a guest
costs that finds its model in memory on a free slot: the whole of a turn, without a decision.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
import time
from pathlib import Path

import structlog

from benchmarks.database import Server, server
from benchmarks.slots import TimedEngine
from benchmarks.table import machine, percentile, show
from benchmarks.yard import dispatching, submit_tasks, until_ended
from corral.slots.guests import Choice, GuestAsk, GuestLateError
from corral.tasks.dispatcher import Dispatcher
from corral.tasks.migrations import migrate
from corral.tasks.store.pool import open_pool
from corral.work import Resident

SLOTS = 4
GUESTS = 200
TURNS = 2000
"""Turns of which the cost is measured."""
_ASK = GuestAsk(owner="ada", choices=(Choice("sleep"),), label="chat")


class Waits:
    """The waits and the turns of all guests."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.turns: list[tuple[float, float]] = []
        self.refused = 0

    async def visit(self, dispatcher: Dispatcher, after_s: float, seconds: float) -> None:
        """Come after a while, have a turn of so many seconds."""
        await asyncio.sleep(after_s)
        came = time.perf_counter()
        try:
            async with dispatcher.guests.take_turn(_ASK):
                begun = time.perf_counter()
                self.waited.append(begun - came)
                await asyncio.sleep(seconds)
            self.turns.append((begun, time.perf_counter()))
        except GuestLateError:
            self.refused += 1


async def _measure(running: Server, tasks: int, seconds: float) -> tuple[Waits, list[TimedEngine]]:
    url = await running.fresh("benchmark")
    await migrate(url)
    pool = await open_pool(url)
    await submit_tasks(pool, tasks, 500, seconds)
    engines, waits = [TimedEngine() for _ in range(SLOTS)], Waits()
    span_s = (tasks + GUESTS) * seconds / SLOTS
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as folder:
        async with dispatching(url, pool, Path(folder), engines) as dispatcher:
            while not dispatcher.running:  # noqa: ASYNC110 (it leads, and the first task runs)
                await asyncio.sleep(0.01)
            async with asyncio.TaskGroup() as group:
                for number in range(GUESTS):
                    group.create_task(waits.visit(dispatcher, number * 0.9 * span_s / GUESTS, seconds))
            await until_ended(pool)
    await pool.close()
    return waits, engines


class _Loaded(TimedEngine):
    """Has a model in memory."""

    async def resident(self) -> tuple[Resident, ...]:
        return (Resident(model="m"),)


async def _measure_turn(running: Server) -> float:
    """Return the microseconds of a turn that starts at once."""
    url = await running.fresh("benchmark")
    await migrate(url)
    pool = await open_pool(url)
    ask = GuestAsk(owner="ada", choices=(Choice("sleep", "m"),), label="chat")
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as folder:
        async with dispatching(url, pool, Path(folder), [_Loaded() for _ in range(SLOTS)]) as dispatcher:
            async with dispatcher.guests.take_turn(ask):
                pass  # its engine was checked by then, which a guest waits for
            best = float("inf")
            for _ in range(5):
                await asyncio.sleep(1)  # turns that start at once let nothing else run, what keeps the lead neither
                begun = time.process_time()
                for _ in range(TURNS):
                    async with dispatcher.guests.take_turn(ask):
                        pass
                best = min(best, time.process_time() - begun)
    await pool.close()
    return best / TURNS * 1e6


def _row(tasks: int, seconds: float, waits: Waits, engines: list[TimedEngine]) -> tuple[str, ...]:
    runs = [*waits.turns, *(run for engine in engines for run in engine.runs)]
    span = max(end for _, end in runs) - min(begin for begin, _ in runs)
    occupancy = sum(end - begin for begin, end in runs) / (SLOTS * span)
    figures = (percentile(waits.waited, 0.5), percentile(waits.waited, 0.99), max(waits.waited))
    name = f"{tasks:,} tasks and {GUESTS} guests of {seconds:g} s"
    return name, f"{occupancy:.2%}", *(f"{figure:.2f}" for figure in figures), str(waits.refused)


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each task and each turn takes")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with server() as running:
        described = asyncio.run(running.describe())
        waits, engines = asyncio.run(_measure(running, chosen.tasks, chosen.seconds))
        cost_us = asyncio.run(_measure_turn(running))
    head = (f"{SLOTS} slots", "occupancy", "wait p50 (s)", "wait p99 (s)", "wait max (s)", "refused")
    rows = [
        _row(chosen.tasks, chosen.seconds, waits, engines),
        (f"a turn that starts at once: {cost_us:.0f} us of CPU", "", "", "", "", ""),
    ]
    show("Guests", head, rows, [described, machine()])


if __name__ == "__main__":
    main()
