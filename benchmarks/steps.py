"""How long one step of the dispatcher holds the event loop, and how many tasks it runs per second, by number of slots.

A step is one callback of the event loop: while it runs, no request is answered and no other attempt goes on. Its length
is the processor time of the thread, so that what else the machine does counts for nothing. The tasks sleep 0 s, the
dispatcher and the durable database are real. In the last rows most slots are idle: they must cost nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from benchmarks.database import Server, server
from benchmarks.table import machine, show
from benchmarks.yard import NothingEngine, dispatching, submit_tasks, until_ended
from corral.engines.sleep.engine import SleepingEngine
from corral.tasks.migrations import migrate
from corral.tasks.store.pool import open_pool

AIM_MS = 5
BATCH = 500
_Callback = Callable[..., object]


class OtherEngine(NothingEngine):
    """An engine that no task asks for: its slot stays idle."""

    name = "other"


class TimedLoop(asyncio.SelectorEventLoop):
    """An event loop that keeps the processor time of each of its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[float, str]] = []
        """Seconds, and the callback."""

    def call_soon(  # type: ignore[override]
        self, callback: _Callback, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon(self._time, callback, *args, context=context)

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: _Callback, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon_threadsafe(self._time, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: _Callback, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return super().call_at(when, self._time, callback, *args, context=context)

    def _add_reader(self, fd: int, callback: _Callback, *args: Any) -> asyncio.Handle:
        return super()._add_reader(fd, self._time, callback, *args)  # type: ignore[misc]  # transports use it

    def _time(self, callback: _Callback, *args: Any) -> None:
        begun = time.thread_time()
        callback(*args)
        took = time.thread_time() - begun
        if took > 0.0005:  # a list of all would itself take time
            self.steps.append((took, _describe(callback)))


def _describe(callback: _Callback) -> str:
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return f"{owner.get_name().partition('-')[0]} {getattr(owner.get_coro(), '__qualname__', '')}"
    return getattr(callback, "__qualname__", repr(callback))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """So many slots, and how many of them have an engine that the tasks ask for."""

    slots: int
    busy: int

    @property
    def name(self) -> str:
        """What the row is called."""
        return f"{self.slots} slots" if self.busy == self.slots else f"{self.slots} slots, {self.busy} in use"


CASES = (
    Case(slots=10, busy=10),
    Case(slots=64, busy=64),
    Case(slots=128, busy=128),
    Case(slots=128, busy=10),
    Case(slots=1000, busy=10),
)


@dataclass(frozen=True, slots=True)
class Round:
    """Tasks per second, processor time per task, and the longest steps: seconds and callback, longest first."""

    rate: float
    cost_ms: float
    steps: list[tuple[float, str]]


async def _run(url: str, case: Case, tasks: int) -> Round:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TimedLoop)
    await migrate(url)
    pool = await open_pool(url)
    await submit_tasks(pool, tasks, BATCH, 0)
    engines = [SleepingEngine() if number < case.busy else OtherEngine() for number in range(case.slots)]
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as folder:
        gc.collect()
        gc.freeze()  # as the server does
        await asyncio.sleep(0)  # this step ends before what is measured
        loop.steps.clear()
        begun, begun_cpu = time.perf_counter(), time.thread_time()
        async with dispatching(url, pool, Path(folder), engines):
            await until_ended(pool)
            took, took_cpu = time.perf_counter() - begun, time.thread_time() - begun_cpu
            steps = sorted(loop.steps, reverse=True)
    await pool.close()
    return Round(tasks / took, took_cpu * 1000 / tasks, steps)


def _measure(running: Server, case: Case, tasks: int) -> Round:
    async def once() -> Round:
        return await _run(await running.fresh("benchmark"), case, tasks)

    with asyncio.Runner(loop_factory=TimedLoop) as runner:
        return runner.run(once())


def main() -> None:
    """Run the rounds, interleaved, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=5000, help="tasks per round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per number of slots (%(default)s)")
    parser.add_argument("--slots", type=int, nargs="*", help="only these numbers of slots in use")
    parser.add_argument("--callbacks", action="store_true", help="print the callbacks of the longest steps")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    cases = [case for case in CASES if not chosen.slots or case.busy in chosen.slots]
    rounds: dict[Case, list[Round]] = {case: [] for case in cases}
    with server() as running:
        described = asyncio.run(running.describe())
        for _ in range(chosen.rounds):
            for case in cases:
                rounds[case].append(_measure(running, case, chosen.tasks))
    show(
        "Steps",
        (
            "tasks that sleep 0 s",
            "tasks per second",
            "processor (ms per task)",
            "longest step (ms)",
            f"steps above {AIM_MS} ms",
        ),
        [_row(case, measured) for case, measured in rounds.items()],
        [f"{chosen.tasks} tasks, medians of {chosen.rounds} rounds", described, machine()],
    )
    if chosen.callbacks:
        for case, measured in rounds.items():
            print(f"\n{case.name}")
            for seconds, callback in measured[-1].steps[:12]:
                print(f"  {seconds * 1000:7.2f} ms  {callback}")


def _row(case: Case, rounds: list[Round]) -> tuple[str, ...]:
    longest = [measured.steps[0][0] * 1000 if measured.steps else 0.0 for measured in rounds]
    above = [sum(seconds * 1000 > AIM_MS for seconds, _ in measured.steps) for measured in rounds]
    rate = statistics.median(measured.rate for measured in rounds)
    cost = statistics.median(measured.cost_ms for measured in rounds)
    return (
        case.name,
        f"{rate:,.0f}",
        f"{cost:.2f}",
        f"{statistics.median(longest):.1f}",
        f"{statistics.median(above):.0f}",
    )


if __name__ == "__main__":
    main()
