"""A load for one GPU: llama.cpp answers several requests at once, again and again, until the process is ended.

A program of its own: `python -m corral.engines.llama.load --model m.gguf --data-dir DIR`, with the GPU's UUID in
CUDA_VISIBLE_DEVICES. It prints the tokens that it has written, once for each answer: `tokens: 5120`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from corral.data_dir import ENGINES_FOLDER
from corral.engines.environments.finding import Environments
from corral.engines.llama.engine import Llama
from corral.engines.llama.inputs import LlamaOptions
from corral.engines.machine_share import Device, MachineShare
from corral.errors import CorralError
from corral.work import Endpoint

REQUESTS = 8
"""At a time: one request alone waits for memory most of the time, and leaves a large GPU half idle."""
_CONTEXT = 1024
"""Tokens of each request's prompt and answer."""
_ANSWER = 128
"""Tokens of each answer: reading prompts and writing take turns, as in everyday work."""
_LOGS = "loadtests"
"""The folder in the data directory that has what llama.cpp prints, next to the recordings of load tests."""
_PROMPT = "Write a long story about a river. " * 12


async def load(model: Path, data_dir: Path, gpu: str | None, *, answer: int) -> None:
    """Generate answers of so many tokens on a GPU, or on the processor where it is None, until cancelled.

    Raises: EngineError, and what aiohttp raises when the server has ended.
    """
    share = MachineShare(
        device=Device(name=f"load-{gpu or 'cpu'}", gpu=gpu),
        threads=max(1, (os.cpu_count() or 2) - 1),
        locate=lambda _: model,
        log_dir=data_dir / _LOGS,
        environments=Environments(data_dir / ENGINES_FOLDER),
        lanes=REQUESTS,
    )
    llama = Llama(share, LlamaOptions.model_validate({"contextSize": _CONTEXT}))
    try:
        async with llama.reach(str(model), _say) as endpoint:
            await _generate(endpoint, answer)
    finally:
        await llama.close()


async def _generate(endpoint: Endpoint, answer: int) -> None:
    written = 0

    async def ask_again() -> None:
        nonlocal written
        body = {"prompt": _PROMPT, "max_tokens": answer, "ignore_eos": True, "temperature": 1.0}
        while True:
            async with session.post(f"{endpoint.url}/v1/completions", json=body) as response:
                response.raise_for_status()
                usage: dict[str, Any] = (await response.json())["usage"]
            written += int(usage["completion_tokens"])
            _say(f"tokens: {written}")

    without_end = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(headers=endpoint.headers, timeout=without_end) as session,
        asyncio.TaskGroup() as asking,
    ):
        for _ in range(REQUESTS):
            asking.create_task(ask_again())


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


async def _run_until_ended(asked: argparse.Namespace) -> None:
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES") or None
    loading = asyncio.create_task(load(asked.model, asked.data_dir, gpu, answer=asked.answer))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, loading.cancel)
    with suppress(asyncio.CancelledError):
        await loading


def main() -> None:
    """Load a GPU until a signal ends the process; exit with the reason where that is not possible."""
    parser = argparse.ArgumentParser(prog="corral.engines.llama.load")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--answer", type=int, default=_ANSWER)
    try:
        asyncio.run(_run_until_ended(parser.parse_args()))
    except* (CorralError, aiohttp.ClientError) as errors:
        sys.exit(f"{errors.exceptions[0]}")


if __name__ == "__main__":
    main()
