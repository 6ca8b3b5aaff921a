"""What lanes are worth: 64 short chats on the local llama engine with 1 and 4 lanes, beside llama.cpp asked directly.

Both sides use the same llama-server with the same threads, and as many requests at once as there are lanes. Direct is
the least that a program can do: post a request, read the whole answer. Corral's side is a batch in its queue: the real
dispatcher on a durable database, an attempt for each chat with its stream, progress and files. The rounds of all four
are interleaved; the figures are of the shortest round of each.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import structlog

from benchmarks.database import Server, server
from benchmarks.table import machine, show
from benchmarks.yard import dispatching, until_ended
from corral.engines.llama.engine import Llama
from corral.engines.llama.inputs import LlamaOptions
from corral.engines.machine_share import Device, MachineShare
from corral.requests import BatchFields
from corral.tasks.migrations import migrate
from corral.tasks.store.pool import Pool, open_pool
from corral.tasks.store.reading import get_tasks
from corral.tasks.store.submitting import submit
from corral.tasks.values import Submission, TaskSpec
from corral.weights.store import Store
from corral.work import Endpoint, Produced, Reporter, Work

TASKS = 64
LANES = (1, 4)
MODEL = "smollm2-135m-instruct"
TOKENS = 32
_CONTEXT = 512
_INPUTS = {"temperature": 0.0, "seed": 7, "max_tokens": TOKENS, "grammar": "root ::= [0-9, ] root"}
"""The grammar has no end, so that every answer has as many tokens."""
_PROMPTS = tuple(f"Count from {number}." for number in range(TASKS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One way through all chats."""

    seconds: float
    tokens: int
    busy_s: float
    """The seconds of all chats, from the request to the whole answer."""


Way = Callable[[], Awaitable[Round]]


class TimedLlama(Llama):
    """The engine, which also keeps the seconds of each run."""

    def __init__(self, share: MachineShare, options: LlamaOptions) -> None:
        super().__init__(share, options)
        self.spans: list[float] = []

    async def run(self, work: Work, report: Reporter) -> Produced:
        began = time.perf_counter()
        try:
            return await super().run(work, report)
        finally:
            self.spans.append(time.perf_counter() - began)


def ask_directly(session: aiohttp.ClientSession, endpoint: Endpoint, lanes: int) -> Way:
    """Return a round of plain requests, `lanes` at once."""

    async def run() -> Round:
        prompts, counts, spans = iter(_PROMPTS), list[int](), list[float]()

        async def work() -> None:
            for prompt in prompts:
                asked = time.perf_counter()
                body = {"messages": [{"role": "user", "content": prompt}], "cache_prompt": False, **_INPUTS}
                url = f"{endpoint.url}/v1/chat/completions"
                async with session.post(url, json=body, headers=endpoint.headers) as response:
                    response.raise_for_status()
                    counts.append((await response.json())["usage"]["completion_tokens"])
                spans.append(time.perf_counter() - asked)

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(lanes)))
        return Round(seconds=time.perf_counter() - began, tokens=sum(counts), busy_s=sum(spans))

    return run


def ask_through_queue(pool: Pool, engine: TimedLlama) -> Way:
    """Return a round of one batch, from its submission to the end of its last task."""
    specs = tuple(
        TaskSpec(name=f"chat-{number}", engine=engine.name, model=MODEL, inputs={"prompt": prompt, **_INPUTS})
        for number, prompt in enumerate(_PROMPTS)
    )

    async def run() -> Round:
        engine.spans.clear()
        began = time.perf_counter()
        batch = Submission(owner="benchmark", batch=BatchFields(name="chats"), tasks=specs)
        accepted = await submit(pool, batch, queued_limits={})
        await until_ended(pool)
        seconds = time.perf_counter() - began
        ended = await get_tasks(pool, accepted.tasks)
        tokens = sum((task.result or {})["completion_tokens"] for task in ended)
        return Round(seconds=seconds, tokens=tokens, busy_s=sum(engine.spans))

    return run


async def measure(
    running: Server, *, rounds: int, threads: int, models: Path
) -> Mapping[tuple[str, int], Sequence[Round]]:
    """Run every way so many times, in turn."""
    store = Store(models)
    await store.pull(MODEL)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corral-bench-")))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        ways: dict[tuple[str, int], Way] = {}
        for lanes in LANES:
            share = MachineShare(
                device=Device(name=f"cpu{lanes}"),
                threads=threads,
                locate=store.path,
                log_dir=folder / "logs",
                lanes=lanes,
            )
            engine = TimedLlama(share, LlamaOptions.model_validate({"contextSize": _CONTEXT, "threads": threads}))
            stack.push_async_callback(engine.close)
            endpoint = await stack.enter_async_context(engine.reach(MODEL, lambda _: None))
            url = await running.fresh(f"lanes_{lanes}")
            await migrate(url)
            pool = await open_pool(url)
            stack.push_async_callback(pool.close)
            await stack.enter_async_context(dispatching(url, pool, folder / f"{lanes}", [engine], lanes=lanes))
            ways["direct", lanes] = ask_directly(session, endpoint, lanes)
            ways["Corral", lanes] = ask_through_queue(pool, engine)
        measured: dict[tuple[str, int], list[Round]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, run in ways.items():
                measured[way].append(await run())
    return measured


def _row(way: tuple[str, int], rounds: Sequence[Round], direct: Sequence[Round]) -> tuple[str, ...]:
    best, least = (min(listed, key=lambda measured: measured.seconds) for listed in (rounds, direct))
    speed, direct_speed = best.tokens / best.seconds, least.tokens / least.seconds
    name, lanes = way
    return (
        f"{name}, {lanes} lane{'s' if lanes > 1 else ''}",
        f"{best.seconds:.2f}",
        f"{speed:.1f}",
        f"{speed / direct_speed:.1%}",
        f"{best.busy_s / (lanes * best.seconds):.1%}",
    )


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each way (default 5)")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="of llama.cpp")
    parser.add_argument("--models", type=Path, default=Path(".cache/models"), help="the folder of the store")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with server() as running:
        described = asyncio.run(running.describe())
        measuring = measure(running, rounds=chosen.rounds, threads=chosen.threads, models=chosen.models)
        measured = asyncio.run(measuring)
    head = (f"{TASKS} chats of {TOKENS} tokens", "seconds", "tokens/s", "of direct", "occupancy")
    rows = [_row(way, rounds, measured["direct", way[1]]) for way, rounds in measured.items()]
    notes = [
        f"{MODEL} on the processor, {chosen.threads} threads, shortest of {chosen.rounds} rounds each",
        described,
        machine(),
    ]
    show("Lanes", head, rows, notes)


if __name__ == "__main__":
    main()
