"""A small server as Corral runs it, and a process that stands for Corral: it runs one, and is there to be killed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from corral.processes.bounded_log import BoundedLog
from corral.processes.leftovers import MARK, make_mark
from corral.processes.server import Server, ServerProgram

PROGRAM = Path(__file__).with_name("small_server.py")


def make_program(logs: Path, *asked: str) -> ServerProgram:
    """The double `small_server` with these words."""
    return ServerProgram(
        name="small server",
        command=lambda port: (sys.executable, str(PROGRAM), str(port), *asked),
        environment=lambda _: {**os.environ, MARK: make_mark(logs)},
        health_path="/health",
        stop_grace_s=0.5,
    )


async def run(logs: Path) -> None:
    server = Server(make_program(logs, "daemon", "stubborn"), BoundedLog(logs / "small.log"))
    sys.stdout.write(await server.ensure_ready(within_s=60) + "\n")
    sys.stdout.flush()
    await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
