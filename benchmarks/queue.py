"""How many tasks per second the queue takes, hands out and completes, beside two other queues on PostgreSQL.

Every system gets a fresh database on one durable server. The rounds are interleaved, so that what else the machine does
falls on all alike; the table has the medians. See `docs/benchmarks.md` for what is and is not comparable.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
import uvloop

from benchmarks.corral_rounds import dispatcher_round, store_round
from benchmarks.database import Server, server
from benchmarks.rivals import Phases, pgqueuer_round, procrastinate_round
from benchmarks.table import machine, show

BATCH = 500
_Round = Callable[[str, int, int, int], Awaitable[Phases]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _System:
    name: str
    run: _Round
    at_once: int
    """Slots, jobs claimed together, or jobs that run together."""
    share: float = 1.0
    """Part of the tasks that it is given; a slow one gets fewer, its rate does not depend on it."""
    loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop


_SYSTEMS = (
    _System(name="Corral, store alone, 64 a commit", run=store_round, at_once=64),
    _System(name="Corral, store alone, 256 a commit", run=store_round, at_once=256),
    _System(name="Corral, dispatcher, 10 slots", run=dispatcher_round, at_once=10),
    _System(name="Corral, dispatcher, 64 slots", run=dispatcher_round, at_once=64),
    _System(name="PgQueuer, batch_size 10 (default)", run=pgqueuer_round, at_once=10, loop=uvloop.new_event_loop),
    _System(name="PgQueuer, batch_size 64", run=pgqueuer_round, at_once=64, loop=uvloop.new_event_loop),
    _System(name="PgQueuer, batch_size 250", run=pgqueuer_round, at_once=250, loop=uvloop.new_event_loop),
    _System(name="Procrastinate, concurrency 10", run=procrastinate_round, at_once=10, share=0.1),
)
_PGQUEUER, _PGQUEUER_BEST, _PROCRASTINATE = _SYSTEMS[4].name, _SYSTEMS[6].name, _SYSTEMS[7].name


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000, help="tasks per round (5000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per system (3)")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rates: dict[str, list[tuple[float, float, float]]] = {system.name: [] for system in _SYSTEMS}
    with server() as running:
        described = asyncio.run(running.describe())
        for _ in range(chosen.rounds):
            for system in _SYSTEMS:
                rates[system.name].append(_measure(running, system, chosen.tasks))
    _print(rates, f"{chosen.tasks} no-op tasks, submitted {BATCH} at a time, {chosen.rounds} rounds", described)


def _measure(running: Server, system: _System, tasks: int) -> tuple[float, float, float]:
    count = max(BATCH, int(tasks * system.share) // BATCH * BATCH)

    async def once() -> Phases:
        url = await running.fresh("benchmark")
        return await system.run(url, count, BATCH, system.at_once)

    with asyncio.Runner(loop_factory=system.loop) as runner:
        phases = runner.run(once())
    return count / phases.submit_s, count / phases.work_s, count / (phases.submit_s + phases.work_s)


def _print(rates: dict[str, list[tuple[float, float, float]]], what: str, described: str) -> None:
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in rates.items()}
    rows = [
        (
            name,
            *(f"{rate:,.0f}" for rate in medians[name]),
            *(f"{medians[name][2] / medians[other][2]:.2f}" for other in (_PGQUEUER, _PGQUEUER_BEST, _PROCRASTINATE)),
        )
        for name in rates
    ]
    head = (
        "tasks per second",
        "submit",
        "claim + complete",
        "total",
        "x PgQueuer",
        "x PgQueuer 250",
        "x Procrastinate",
    )
    show("Queue", head, rows, [what, described, machine()])


if __name__ == "__main__":
    main()
