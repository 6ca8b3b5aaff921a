"""What 32 clients that read streams do to the slots of the queue: the gap between two tasks, with and without them.

A whole server, as `corral up` starts it, has ten slots of sleeping engines and one server of models, whose streams it
passes on: 50 events a second to each of 32 clients. The gap is the time between two starts on one slot without the
task's own sleep: the engine's end, the durable commit of the outcome and the next lease, the decision and the start, by
the times in the database. Rounds without and with the streams are interleaved; the smallest median of each is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import aiohttp

from benchmarks.database import server
from benchmarks.gateway_parts import TOKENS_PER_S
from benchmarks.programs import PYTHON, START_S, find_port, run_corral, run_program
from benchmarks.table import machine, percentile, show
from corral.tasks.store.pool import Pool, open_pool

SLOTS, CLIENTS = 10, 32
SECONDS = 0.1
"""How long each task sleeps."""
_CLUSTER = """
apiVersion: corral/v1
name: benchmark
nodes: [{{name: here, gpus: [], cpu: {{slots: {slots}}}}}]
engines:
  sleep: {{enabled: true}}
  llama: {{enabled: false}}
  whisper: {{enabled: false}}
  piper: {{enabled: false}}
  kokoro: {{enabled: false}}
  inspect: {{enabled: false}}
  onnx: {{enabled: false}}
  openai: {{instances: [{{name: writing, url: "{url}"}}]}}
"""
_CHAT = {
    "model": "tiny",
    "stream": True,
    "max_tokens": TOKENS_PER_S * 4,
    "messages": [{"role": "user", "content": "Tell me about foxes."}],
}


def make_cluster(upstream: int) -> str:
    """Return a cluster file with the slots of sleeping engines and the server of models on this port."""
    return _CLUSTER.format(slots=SLOTS, url=f"http://127.0.0.1:{upstream}")


class Readers:
    """The clients that read streams, one after another each, until they are told to stop."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = f"{url}/v1/chat/completions"
        self.pieces = 0

    async def read(self) -> None:
        """Be one of them."""
        while True:
            async with self._session.post(self._url, json=_CHAT) as answer:
                answer.raise_for_status()
                async for _ in answer.content.iter_any():
                    self.pieces += 1


async def measure_gaps(session: aiohttp.ClientSession, url: str, pool: Pool, tasks: int) -> list[float]:
    """Let the queue do so many tasks, and return the gaps of all slots in seconds."""
    sleep = {"engine": "sleep", "inputs": {"seconds": SECONDS}}
    batch = {"name": "sleepers", "defaults": sleep, "tasks": [{"name": f"task-{number}"} for number in range(tasks)]}
    async with session.post(f"{url}/corral/v1/batches", json=batch) as answer:
        answer.raise_for_status()
        id = (await answer.json())["batch"]["id"]
    await asyncio.sleep(tasks * SECONDS / SLOTS)  # a look at them would itself be load
    open_ones = "select count(*) from tasks where batch_id = $1 and finished_at is null"
    while await pool.fetchval(open_ones, id):  # noqa: ASYNC110 (it is remote)
        await asyncio.sleep(0.1)
    rows = await pool.fetch(
        "select slots[1] as slot, started_at from tasks where batch_id = $1 order by started_at", id
    )
    starts = defaultdict[str, list[datetime]](list)
    for row in rows:
        starts[row["slot"]].append(row["started_at"])
    return [
        (after - before).total_seconds() - SECONDS for times in starts.values() for before, after in pairwise(times)
    ]


async def until_served(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until the server leads and knows the model. Raises: TimeoutError."""
    async with asyncio.timeout(START_S):
        while True:
            with suppress(aiohttp.ClientError):
                async with session.post(f"{url}/v1/chat/completions", json={**_CHAT, "stream": False}) as answer:
                    if answer.status == 200:
                        break
            await asyncio.sleep(0.5)
    await asyncio.sleep(3)  # by now it has asked how much the server of models does at once


async def _measure(
    url: str, database: str, rounds: int, tasks: int
) -> tuple[list[list[float]], list[list[float]], float]:
    alone: list[list[float]] = []
    beside: list[list[float]] = []
    rates: list[float] = []
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        pool = await open_pool(database)
        stack.push_async_callback(pool.close)
        await until_served(session, url)
        await measure_gaps(session, url, pool, tasks)  # the first round opens what stays open
        for _ in range(rounds):
            alone.append(await measure_gaps(session, url, pool, tasks))
            readers = Readers(session, url)
            reading = [asyncio.create_task(readers.read()) for _ in range(CLIENTS)]
            await asyncio.sleep(1)
            begun, read = loop.time(), readers.pieces
            beside.append(await measure_gaps(session, url, pool, tasks))
            rates.append((readers.pieces - read) / (loop.time() - begun))
            for reader in reading:
                reader.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
    return alone, beside, statistics.median(rates)


def _row(name: str, rounds: Sequence[Sequence[float]], base: float | None) -> tuple[str, ...]:
    median, late = (min(percentile(gaps, part) for gaps in rounds) * 1000 for part in (0.5, 0.9))
    return name, f"{median:.2f}", f"{late:.2f}", "" if base is None else f"{median / base:.2f}"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=400, help="in each round")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="corral-bench-", dir="/tmp") as name, ExitStack() as running:
        folder, upstream, port = Path(name), find_port(), find_port()
        database = running.enter_context(server())
        described, own = asyncio.run(database.describe()), asyncio.run(database.fresh("benchmark"))
        parts = [PYTHON, "-m", "benchmarks.gateway_parts", "writing", str(upstream)]
        running.enter_context(run_program(parts, upstream, folder))
        running.enter_context(run_corral(make_cluster(upstream), port, folder, {"CORRAL_DATABASE_URL": own}))
        alone, beside, rate = asyncio.run(_measure(f"http://127.0.0.1:{port}", own, asked.rounds, asked.tasks))
    base = min(percentile(gaps, 0.5) for gaps in alone) * 1000
    name = f"{SLOTS} slots, tasks of {SECONDS:g} s"
    rows = [
        _row(f"{name}, alone", alone, None),
        _row(f"{name}, with {CLIENTS} streams ({rate:,.0f} pieces/s)", beside, base),
    ]
    head = ("", "gap p50 (ms)", "gap p90 (ms)", "x alone")
    notes = [f"{asked.rounds} rounds of {asked.tasks} tasks; {described}", machine()]
    show("Slots and streams", head, rows, notes)


if __name__ == "__main__":
    main()
