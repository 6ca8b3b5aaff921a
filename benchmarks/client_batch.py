"""A batch of 50,000 lines through OpenAI's Batch API: how long each step takes, and what the server holds in memory.

A whole server, as `corral up` starts it, on a durable PostgreSQL. The lines are chats for the trivial upstream of
`benchmarks.gateway`, which answers at once and does 64 at a time, so that what is left is the queue. The last two rows
are the same chats as plain requests to the same door, 64 at once: what a client does without batches.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.database import server
from benchmarks.gateway_parts import LANES
from benchmarks.programs import PYTHON, find_port, run_corral, run_program
from benchmarks.streams import make_cluster, until_served
from benchmarks.table import machine, show

LINES, PLAIN = 50_000, 5_000
_CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Tell me about foxes."}], "max_tokens": 8}
_URL = "/v1/chat/completions"
_ENDS = ("completed", "failed", "cancelled", "expired")


class Steps:
    """The rows of the table: each step with its seconds, its rate and the server's memory at its end."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._begun = time.perf_counter()
        self.rows: list[tuple[str, ...]] = []

    def begin(self) -> None:
        """Begin the next step."""
        self._begun = time.perf_counter()

    def end(self, name: str, lines: int) -> None:
        """End a step, and begin the next one."""
        took_s, held = time.perf_counter() - self._begun, self._process.memory_info().rss / 1e6
        self.rows.append((name, f"{took_s:.1f}", f"{lines / took_s:,.0f}", f"{held:.0f}"))
        self.begin()


async def measure(url: str, process: psutil.Process, lines: int) -> Sequence[tuple[str, ...]]:
    """Send the batch, wait for its end, fetch its answers. Raises: RuntimeError when some are missing."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=LANES)) as session:
        await until_served(session, url)
        steps = Steps(process)
        steps.end("before", 0)
        content = b"".join(
            json.dumps({"custom_id": f"line-{number}", "method": "POST", "url": _URL, "body": _CHAT}).encode() + b"\n"
            for number in range(lines)
        )
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", content, filename="lines.jsonl")
        steps.begin()
        file = await ask(session, f"{url}/v1/files", data=form)
        steps.end(f"upload, {len(content) / 1e6:.0f} MB", lines)
        wanted = {"input_file_id": file["id"], "endpoint": _URL, "completion_window": "24h"}
        batch = await ask(session, f"{url}/v1/batches", json=wanted)
        while batch["status"] == "validating":
            await asyncio.sleep(0.1)
            batch = await ask(session, f"{url}/v1/batches/{batch['id']}")
        steps.end("create, until all lines are stored", lines)
        while batch["status"] not in _ENDS:
            await asyncio.sleep(1)
            batch = await ask(session, f"{url}/v1/batches/{batch['id']}")
        steps.end("run, until all have ended", lines)
        if batch["error_file_id"]:
            async with session.get(f"{url}/v1/files/{batch['error_file_id']}/content") as answer:
                raise RuntimeError(f"lines failed, the first: {(await answer.content.readline()).decode()}")
        async with session.get(f"{url}/v1/files/{batch['output_file_id']}/content") as answer:
            answered = sum([1 async for _ in answer.content])
        steps.end("download of the answers", lines)
        if (batch["status"], answered) != ("completed", lines):
            raise RuntimeError(f"{answered} of {lines} lines were answered; the batch is {batch['status']}")
        await asyncio.gather(*(send_plain(session, url, PLAIN // LANES) for _ in range(LANES)))
        steps.end(f"{PLAIN:,} plain requests", PLAIN // LANES * LANES)
        return steps.rows


async def ask(session: aiohttp.ClientSession, url: str, **body: Any) -> Any:  # JSON of the API
    """Post what is given, else read. Raises: aiohttp.ClientResponseError."""
    async with session.request("POST" if body else "GET", url, **body) as answer:
        answer.raise_for_status()
        return await answer.json()


async def send_plain(session: aiohttp.ClientSession, url: str, count: int) -> None:
    """Send so many chats, one after another."""
    for _ in range(count):
        await ask(session, url + _URL, json=_CHAT)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client_batch", description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="corral-bench-", dir="/tmp") as name, ExitStack() as running:
        folder, upstream, port = Path(name), find_port(), find_port()
        database = running.enter_context(server())
        described, own = asyncio.run(database.describe()), asyncio.run(database.fresh("benchmark"))
        parts = [PYTHON, "-m", "benchmarks.gateway_parts", "upstream", str(upstream)]
        running.enter_context(run_program(parts, upstream, folder))
        process = running.enter_context(run_corral(make_cluster(upstream), port, folder, {"CORRAL_DATABASE_URL": own}))
        rows = asyncio.run(measure(f"http://127.0.0.1:{port}", process, asked.lines))
    head = (f"{asked.lines:,} lines", "seconds", "lines/s", "server MB")
    show("A batch of a client", head, rows, [described, machine()])


if __name__ == "__main__":
    main()
