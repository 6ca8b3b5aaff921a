"""`corral hold` as a process of a test, and what runs below it."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(slots=True)
class HeldProgram:
    """One `corral hold` that was typed; `word` is in the command line of all that its program starts."""

    process: asyncio.subprocess.Process
    word: str

    async def read_line(self) -> str:
        """Return the next line that the program prints."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def end(self) -> tuple[int, str]:
        """Wait until the command ends, and return its code and what it and the program print to standard error."""
        assert self.process.stderr is not None
        async with asyncio.timeout(60):
            said = await self.process.stderr.read()
            return await self.process.wait(), said.decode()

    def find_keeper(self) -> psutil.Process:
        """Find the process between the command and its program."""
        (keeper,) = psutil.Process(self.process.pid).children()
        return keeper

    def list_left(self) -> list[psutil.Process]:
        """List what runs of the program, wherever it is in the tree of processes."""
        left: list[psutil.Process] = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if self.word in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    left.append(process)
        return left

    async def until_running(self, count: int, within_s: float = 30) -> None:
        """Return once so many processes of the program run: a shell says "ready" before its children have started."""
        async with asyncio.timeout(within_s):
            while len(self.list_left()) < count:  # noqa: ASYNC110 (other processes)
                await asyncio.sleep(0.05)

    async def until_gone(self, within_s: float = 30) -> None:
        """Return once nothing of the program runs."""
        async with asyncio.timeout(within_s):
            while self.list_left():  # noqa: ASYNC110 (other processes)
                await asyncio.sleep(0.05)


async def type_hold(data_dir: Path, *arguments: str, word: str = "") -> HeldProgram:
    """Type `corral hold` with these arguments."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "corral", "hold", "--cpu", "--data-dir", str(data_dir), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1"},
    )
    return HeldProgram(process, word)


def make_family(word: str) -> tuple[str, ...]:
    """Return a program with a child and a daemon that has left its session; it prints a line when all run."""
    return ("sh", "-c", f"sleep {word} & setsid sleep {word} & echo ready; wait")
