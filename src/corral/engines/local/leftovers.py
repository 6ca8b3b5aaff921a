"""Finds and ends processes that outlived their worker.

A worker and all that it starts carry a mark in their environment. While a worker lives it ends its own children. When
it is killed it cannot, so the server looks for its mark; and when the server is killed too, the next server looks for
marks of its own log folder. A program that clears its environment *and* leaves its session *and* whose worker was
killed with SIGKILL escapes; only a container or a virtual machine could hold that one.

Belongs here: the mark, and ending what carries it.
Does not belong here: ending a worker in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil

MARK = "CORRAL_WORKER"
"""The variable that holds the mark: the folder of the worker's log, `#`, and a random word."""

_ROUNDS = 20
"""A process can fork while we look; it cannot outrun this many looks unless it does nothing else."""


def make_mark(log_dir: Path) -> str:
    """Return a mark for one worker of the server that keeps its logs here."""
    return f"{log_dir.resolve()}#{uuid4().hex}"


def end_marked(mark: str, *, spare: int) -> int:
    """Kill every process that carries this mark; return how many there were.

    `spare` is the worker itself, whose exit code belongs to the one that started it.
    """
    return _end(lambda process, its_mark: its_mark == mark and process != spare)


def sweep(log_dir: Path) -> int:
    """Kill every process whose worker belonged to a server with logs here or below; return how many there were.

    For the start of a server, before it has workers of its own.
    """
    root = str(log_dir.resolve())
    return _end(lambda _process, mark: mark.startswith((f"{root}#", f"{root}/")))


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
