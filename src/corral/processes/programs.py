"""Programs that this process starts, and the end of everything that descends from them.

For a worker or a keeper, which adopts orphans (`kernel`): whatever a program leaves behind, daemons included, stays
below it and is found here.

Belongs here: starting and ending programs.
Does not belong here: why they are started.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

_LAUNCHER = str(Path(__file__).with_name("launch.py"))
_ROUNDS = 50
"""A process can fork while its parent is killed; each round kills what the last one left."""

_ROUND_S = 0.2


class Programs:
    """The processes that this one has started."""

    def __init__(self) -> None:
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    def start(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        cwd: Path,
        stdin: int | IO[bytes] | None,
        stdout: int | None,
        stderr: int | None,
        own_session: bool = True,
    ) -> subprocess.Popen[bytes]:
        """Start a program that dies with this one, in a session of its own or in this. Call it from the main thread.

        The kernel ends the program when the *thread* that started it ends.
        """
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", _LAUNCHER, str(os.getpid()), *argv],
            env=environment,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            bufsize=0,
            start_new_session=own_session,
        )
        self._started = {pid: program for pid, program in self._started.items() if program.returncode is None}
        self._started[process.pid] = process
        return process

    def end_all(self) -> None:
        """Kill everything below this process, and wait until it is gone; from any thread."""
        for _ in range(_ROUNDS):
            children = psutil.Process().children(recursive=True)
            if not children:
                return
            for child in children:
                with suppress(psutil.Error):
                    child.kill()
            self._collect_exit_codes(children)

    def _collect_exit_codes(self, children: Sequence[psutil.Process]) -> None:
        """Each exit code goes to the one that waits for it: psutil would take those of `Popen`, which then says 0."""
        psutil.wait_procs([child for child in children if child.pid not in self._started], timeout=_ROUND_S)
        for process in list(self._started.values()):
            with suppress(subprocess.TimeoutExpired):
                process.wait(_ROUND_S)
