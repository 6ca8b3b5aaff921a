"""Starts a program that the kernel kills when its parent dies: `launch.py <parent> <program> <argument>...`.

A step of its own between fork and exec, because a worker and a keeper have threads, and code that runs in a forked copy
of a threaded process can hang (`preexec_fn`). It imports nothing of Corral and starts in about 15 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
NOT_STARTED = 127
"""Exit code when the program cannot be started; the shell's."""


def main() -> None:
    """Become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(NOT_STARTED)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(program, sys.argv[2:])
    except OSError as error:
        sys.stderr.write(f"corral: cannot start {program!r}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(NOT_STARTED)


if __name__ == "__main__":
    main()
