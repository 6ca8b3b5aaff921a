"""Options that a process sets for itself on Linux, where nothing happens on other systems, and which machine it is on.

Sources: PR_SET_PDEATHSIG(2const), PR_SET_CHILD_SUBREAPER(2const), proc_pid_oom_score_adj(5), random(4) for the boot id.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGNAL_CODE = 128
"""A shell returns 128 and the signal for a program that a signal killed."""
_OOM_SCORE = 500
"""Of 1000: when memory runs out, a worker goes before the server and its database."""


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, even while native code holds the interpreter."""
    _set_process_option(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if sys.platform == "linux" and os.getppid() != parent:  # it died before we asked
        os._exit(0)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none can get out of sight."""
    _set_process_option(_PR_SET_CHILD_SUBREAPER, 1)


def be_killed_before_the_server() -> None:
    """Prefer this process, and what it starts, when memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))


def leave_as(code: int) -> NoReturn:
    """End this process as another did, by its return code: that of a signal is negative."""
    if code >= 0:
        os._exit(code)
    with suppress(OSError, ValueError):  # SIGKILL has no handler to set
        signal.signal(-code, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (-code,))
    os.kill(os.getpid(), -code)
    os._exit(_SIGNAL_CODE - code)  # a signal that does not end a process, or not yet


def _set_process_option(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def identify_machine(root: Path = Path("/")) -> str:
    """Return a name that no other machine has: the id of this start of its kernel, else its host name."""
    with suppress(OSError):
        return (root / "proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return socket.gethostname()
