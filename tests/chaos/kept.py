"""Programs that a watchdog keeps running: whenever one ends, whatever ended it, it is started again at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

STOP_S = 60.0


class Kept:
    """One program under the watchdog."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        self.starts = 0
        self.unexpected: list[int] = []
        """Exit codes of ends that nobody here caused."""
        self._argv = argv
        self._env = {**os.environ, **(env or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._killed = False
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Its process while it lives."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def kill(self) -> bool:
        """Send SIGKILL; False when there is nothing to kill right now."""
        if self.pid is None or self._process is None:
            return False
        self._killed = True
        self._process.kill()
        return True

    def freeze(self, seconds: float) -> bool:
        """Send SIGSTOP, and SIGCONT so much later unless it was killed before; False when it does not run."""
        process = self._process
        if self.pid is None or process is None:
            return False
        process.send_signal(signal.SIGSTOP)
        asyncio.get_running_loop().call_later(seconds, _go_on, process)
        return True

    async def run(self) -> None:
        """Keep it running until `stop`."""
        with self.log.open("ab") as log:
            while not self._stopping:
                self._killed = False
                self.starts += 1
                self._process = await asyncio.create_subprocess_exec(
                    *self._argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=self._env
                )
                code = await self._process.wait()
                if not self._killed and not self._stopping:
                    self.unexpected.append(code)

    async def stop(self) -> int | None:
        """End it in order and return its exit code; it is not started again. None when it had to be killed."""
        self._stopping = True
        process = self._process
        if process is None:
            return None
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            return None


def _go_on(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def keeping(*programs: Kept) -> AsyncIterator[None]:
    """Keep the programs running while the context lasts; at its end all are killed that were not stopped before."""
    tasks = [asyncio.create_task(program.run(), name=program.name) for program in programs]
    try:
        yield
    finally:
        for program in programs:
            program._stopping = True
            program.kill()
        await asyncio.gather(*tasks)


def corral_up(
    data_dir: Path, cluster_file: Path, log: Path, *options: str, env: Mapping[str, str] | None = None
) -> Kept:
    """The server, as a user starts it."""
    argv = [sys.executable, "-m", "corral", "up", "--data-dir", str(data_dir), "--cluster", str(cluster_file)]
    port = () if "--port" in options else ("--port", "0")
    return Kept("server", [*argv, *port, *options], log, env)


def comfyui(name: str, port: int, log: Path, *, seconds_per_image: float) -> Kept:
    """A ComfyUI double in a process of its own."""
    program = Path(__file__).resolve().parents[1] / "doubles" / "comfyui.py"
    argv = [sys.executable, str(program), "--port", str(port), "--seconds-per-image", str(seconds_per_image)]
    return Kept(name, argv, log)
