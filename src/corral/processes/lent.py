"""Keeps one program of a user that was lent GPUs: `python -m corral.processes.lent <lifeline> <grace> <program>...`.

The program has the terminal, the folder and the process group that its user gave it, and this process stays between it
and the command that started it. What comes over the lifeline (a file descriptor) is passed on: each byte is a signal
for the program. When the lifeline ends, because the command did, however it died, or because the GPUs are another's
now, the program gets SIGTERM, and after the grace everything below it SIGKILL: daemons and orphans too, which this
process adopts. It ends as the program did.

A keeper that is killed takes the program along (`launch`); what that started carries a mark, and is found by it.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from corral.processes.kernel import adopt_orphans, leave_as
from corral.processes.programs import Programs

_OF_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)
"""They reach the whole process group, and mean the program."""


def main() -> None:
    """Run the program until it or the lifeline ends."""
    lifeline, grace_s, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    for number in _OF_THE_TERMINAL:  # handlers, not SIG_IGN: a program inherits what is ignored
        signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.set_inheritable(lifeline, False)
    adopt_orphans()
    programs = Programs()
    program = programs.start(
        command,
        environment=os.environ,
        cwd=Path.cwd(),
        stdin=None,
        stdout=None,
        stderr=None,
        own_session=False,  # the keys of its terminal must reach it
    )
    ends: queue.SimpleQueue[None] = queue.SimpleQueue()
    threading.Thread(target=_pass_on, args=(lifeline, program, ends), daemon=True).start()
    threading.Thread(target=_wait_for_program, args=(program, ends), daemon=True).start()
    ends.get()
    if program.poll() is None:
        program.terminate()
        with suppress(subprocess.TimeoutExpired):
            program.wait(grace_s)
    programs.end_all()
    leave_as(program.wait())


def _pass_on(lifeline: int, program: subprocess.Popen[bytes], ends: queue.SimpleQueue[None]) -> None:
    """Send each signal that comes to the program, until the lifeline ends."""
    with suppress(OSError):
        while numbers := os.read(lifeline, 64):
            for number in numbers:
                program.send_signal(number)
    ends.put(None)


def _wait_for_program(program: subprocess.Popen[bytes], ends: queue.SimpleQueue[None]) -> None:
    program.wait()
    ends.put(None)


if __name__ == "__main__":
    main()
