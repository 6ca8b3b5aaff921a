"""How many single tasks per second many clients submit, beside two other queues on PostgreSQL.

32 clients send one task after another. Corral's go over HTTP to a server that runs as users run it (a process of its
own, with its dispatcher; the queue is paused, so that nothing else is measured); once more, the store is called without
HTTP, as the other two queues are. Each system gets a fresh database on one durable server, which is then started again
on a disk whose flushes take 10 ms longer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import asyncpg
import procrastinate
import uvloop
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.queries import Queries

from benchmarks.database import Server, server
from benchmarks.flushes import slow_flushes
from benchmarks.http_clients import ask, post
from benchmarks.start import CORRAL, DEADLINE_S, until_ready
from benchmarks.table import machine, percentile, show
from corral.tasks.migrations import migrate
from corral.tasks.store.intake import Intake
from corral.tasks.store.pool import open_pool
from corral.tasks.values import Submission, TaskSpec

CLIENTS = 32
SLOW_MS = 10
_CLUSTER = """apiVersion: corral/v1
name: bench
nodes:
- name: bench
engines:
  sleep:
    enabled: true
queues:
- name: default
"""
_Submit = Callable[[], Awaitable[object]]
_Rates = tuple[float, float, float]
"""Tasks per second, and the median and the 99th percentile of the waits in milliseconds."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=2000, help="tasks per round (2000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per system (3)")
    chosen = parser.parse_args()
    rows: list[tuple[str, ...]] = []
    described = ""
    for wait_ms in (0, SLOW_MS):
        rounds: dict[str, list[_Rates]] = {name: [] for name in _SYSTEMS}
        with _flushing(wait_ms), server() as running:
            described = asyncio.run(running.describe())
            for _ in range(chosen.rounds):
                for name, measure in _SYSTEMS.items():
                    rounds[name].append(measure(running, chosen.tasks))
        disk = f"flushes {wait_ms} ms longer" if wait_ms else "this disk"
        for name, rates in rounds.items():
            rate, half, most = (statistics.median(column) for column in zip(*rates, strict=True))
            rows.append((name, disk, f"{rate:,.0f}", f"{half:.0f} ms", f"{most:.0f} ms"))
    notes = [
        f"{CLIENTS} clients, {chosen.tasks} tasks a round, medians of {chosen.rounds} rounds",
        described,
        machine(),
    ]
    show("Submit", ("single tasks", "disk", "tasks per second", "p50", "p99"), rows, notes)


@contextmanager
def _flushing(wait_ms: int) -> Iterator[None]:
    """Let the PostgreSQL that is started inside flush more slowly."""
    with tempfile.TemporaryDirectory(prefix="corral-bench-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # run by root, the server is another user's
        library = slow_flushes(Path(folder), wait_ms)
        if library is not None:
            os.environ["LD_PRELOAD"] = str(library)
        try:
            yield
        finally:
            os.environ.pop("LD_PRELOAD", None)


def _run(work: Callable[[], Awaitable[_Rates]]) -> _Rates:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())  # pyright: ignore[reportArgumentType]  coroutine functions, all of them


async def _submit_from_all(submit: _Submit, tasks: int) -> _Rates:
    """Call `submit` from every client, one call after another, until so many tasks are in."""
    numbers = iter(range(tasks))
    waits: list[float] = []

    async def client() -> None:
        for _ in numbers:
            begun = time.perf_counter()
            await submit()
            waits.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return _rates(waits, time.perf_counter() - begun)


def _rates(waits: list[float] | tuple[float, ...], took_s: float) -> _Rates:
    return len(waits) / took_s, percentile(waits, 0.5) * 1e3, percentile(waits, 0.99) * 1e3


def _corral_over_http(running: Server, tasks: int) -> _Rates:
    async def submit() -> _Rates:
        url = await running.fresh("corral")
        with tempfile.TemporaryDirectory(prefix="corral-bench-", dir="/tmp") as folder, _up(Path(folder), url) as here:
            host, _, port = here["url"].removeprefix("http://").partition(":")
            body = json.dumps({"engine": "sleep", "inputs": {"seconds": 0}}).encode()
            request = post("/corral/v1/tasks", f"{host}:{port}", here["token"], body)
            await ask(host, int(port), lambda _: request, clients=CLIENTS, count=10 * CLIENTS, status=201)
            answers = await ask(host, int(port), lambda _: request, clients=CLIENTS, count=tasks, status=201)
            return _rates(answers.waits_s, answers.took_s)

    return _run(submit)


@contextmanager
def _up(folder: Path, database_url: str) -> Iterator[dict[str, str]]:
    """Run a server whose queue is paused; yield what `server.json` says of it."""
    (folder / "cluster.yaml").write_text(_CLUSTER, encoding="utf-8")
    process = subprocess.Popen(
        [CORRAL, "up", "--data-dir", str(folder), "--port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CORRAL_DATABASE_URL": database_url},
    )
    try:
        until_ready(folder, process)
        here: dict[str, str] = json.loads((folder / "server.json").read_text())
        pause = urllib.request.Request(
            f"{here['url']}/corral/v1/queues/default/pause",
            method="POST",
            headers={"Authorization": f"Bearer {here['token']}"},
        )
        urllib.request.urlopen(pause, timeout=DEADLINE_S).close()
        yield here
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE_S)


def _corral_store(running: Server, tasks: int) -> _Rates:
    async def submit() -> _Rates:
        url = await running.fresh("store")
        await migrate(url)
        pool = await open_pool(url)
        intake = Intake(pool, limits=dict)
        numbers = count()

        def submit_single() -> Awaitable[object]:
            task = TaskSpec(name=f"task-{next(numbers)}", engine="sleep", inputs={"seconds": 0})
            return intake.submit(Submission(owner="benchmark", tasks=(task,)))

        rates = await _submit_from_all(submit_single, tasks)
        await pool.close()
        return rates

    return _run(submit)


def _pgqueuer(running: Server, tasks: int) -> _Rates:
    async def submit() -> _Rates:
        async with asyncpg.create_pool(await running.fresh("pgqueuer"), min_size=CLIENTS, max_size=CLIENTS) as pool:
            queries = Queries(AsyncpgPoolDriver(pool))
            await queries.install()
            await queries.optimize_autovacuum()
            return await _submit_from_all(lambda: queries.enqueue("nothing", b'{"seconds":0}', 0), tasks)

    return _run(submit)


def _procrastinate(running: Server, tasks: int) -> _Rates:
    async def submit() -> _Rates:
        url = await running.fresh("procrastinate")
        app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(conninfo=url, min_size=CLIENTS, max_size=CLIENTS)
        )

        @app.task(name="nothing")
        async def nothing(seconds: float) -> None: ...

        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            return await _submit_from_all(lambda: nothing.defer_async(seconds=0), tasks)

    return _run(submit)


_SYSTEMS: dict[str, Callable[[Server, int], _Rates]] = {
    "Corral, over HTTP": _corral_over_http,
    "Corral, the store alone": _corral_store,
    "PgQueuer, `enqueue`": _pgqueuer,
    "Procrastinate, `defer_async`": _procrastinate,
}


if __name__ == "__main__":
    main()
