"""Keeps one program below Corral: `python -m corral.processes.keeper <grace in seconds> <clean-up> <program>...`.

It adopts whatever the program leaves behind, and ends all of it when its standard input ends (Corral has gone, however
it died) or when it gets SIGTERM. The program gets SIGTERM first, and SIGKILL after the grace. The keeper ends as the
program did, so that Corral sees how that was. A container that a program has others run does not descend from it: the
clean-up, commands as JSON, ends that. It is a process of its own, because only a parent sees what a program leaves, and
because Corral cannot clean up after its own SIGKILL.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from corral.processes.kernel import adopt_orphans, be_killed_before_the_server, leave_as
from corral.processes.outside import clean_up
from corral.processes.programs import Programs


def main() -> None:
    """Run the program until it or Corral ends."""
    be_killed_before_the_server()
    adopt_orphans()
    programs = Programs()
    process = programs.start(
        sys.argv[3:],
        environment=os.environ,
        cwd=Path.cwd(),
        stdin=subprocess.DEVNULL,
        stdout=1,
        stderr=2,
    )
    ends: queue.SimpleQueue[None] = queue.SimpleQueue()  # its `put` can be called from a signal handler
    signal.signal(signal.SIGTERM, lambda _number, _frame: ends.put(None))
    threading.Thread(target=_wait_for_corral, args=(ends,), daemon=True).start()
    threading.Thread(target=_wait_for_program, args=(process, ends), daemon=True).start()
    ends.get()
    _stop(process, grace_s=float(sys.argv[1]))
    programs.end_all()
    clean_up(json.loads(sys.argv[2]))
    leave_as(process.wait())


def _wait_for_corral(ends: queue.SimpleQueue[None]) -> None:
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    ends.put(None)


def _wait_for_program(process: subprocess.Popen[bytes], ends: queue.SimpleQueue[None]) -> None:
    process.wait()
    ends.put(None)


def _stop(process: subprocess.Popen[bytes], *, grace_s: float) -> None:
    if grace_s > 0 and process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)


if __name__ == "__main__":
    main()
