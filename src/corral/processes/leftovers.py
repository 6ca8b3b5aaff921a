"""Finds and ends processes that outlived the one that kept them: a worker, or the keeper of a server.

Both, and all that they start, carry a mark in their environment. While the keeping process lives it ends its own
children. When it is killed it cannot, so Corral looks for its mark; and when Corral is killed too, its next start looks
for marks of its own log folder. A program that clears its environment *and* leaves its session *and* whose keeping
process was killed with SIGKILL escapes; only a container or a virtual machine could hold that one.

Belongs here: the mark, and ending what carries it.
Does not belong here: ending a process in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil

MARK = "CORRAL_WORKER"
"""The variable that holds the mark: the folder of the process's log, `#`, and a random word."""

_ROUNDS = 20
"""A process can fork while we look; it cannot outrun this many looks unless it does nothing else."""


def make_mark(log_dir: Path) -> str:
    """Return a mark for one process of the Corral that keeps its logs here."""
    return f"{log_dir.resolve()}#{uuid4().hex}"


def end_marked(mark: str, *, spare: int) -> int:
    """Kill every process that carries this mark; return how many there were.

    `spare` is the process that was started with it, whose exit code belongs to the one that started it.
    """
    return _end(lambda process, its_mark: its_mark == mark and process != spare)


def sweep(log_dir: Path) -> int:
    """Kill every process of a Corral with logs here or below; return how many there were.

    For a start, before there are new ones.
    """
    return _end(lambda _process, mark: is_of(log_dir, mark))


def is_of(log_dir: Path, mark: str) -> bool:
    """Whether a mark is one of a Corral with logs here or below."""
    root = str(log_dir.resolve())
    return mark.startswith((f"{root}#", f"{root}/"))


def _end(belongs: Callable[[int, str], bool]) -> int:
    ended: set[int] = set()
    for _ in range(_ROUNDS):
        processes = list(_find_marked(belongs))
        if not processes:
            break
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
                ended.add(process.pid)
        psutil.wait_procs(processes, timeout=0.5)
    return len(ended)


def _find_marked(belongs: Callable[[int, str], bool]) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if belongs(process.pid, process.environ().get(MARK, "")) and process.status() != psutil.STATUS_ZOMBIE:
                yield process
