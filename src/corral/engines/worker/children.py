"""Programs that a worker starts, and the end of everything that descends from them.

The worker adopts orphans (`kernel.adopt_orphans`), so whatever a program leaves behind, daemons included, stays below
the worker and is found here.

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
"""A process may fork while its parent is killed; each round kills what the last one left."""


def start_program(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    cwd: Path,
    stdin: int | IO[bytes],
    stdout: int,
    stderr: int,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own that dies with this worker. Call it from the main thread.

    The kernel ends the program when the *thread* that started it ends.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", _LAUNCHER, str(os.getpid()), *argv],
        env=environment,
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        bufsize=0,
        start_new_session=True,
    )


def end_descendants() -> None:
    """Kill everything below this process, and wait until it is gone."""
    for _ in range(_ROUNDS):
        children = psutil.Process().children(recursive=True)
        if not children:
            return
        for child in children:
            with suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(children, timeout=0.2)
