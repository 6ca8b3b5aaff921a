"""Signals of this process as values, with where they come from: what a terminal sends reaches its children as well.

They are blocked and waited for in a thread, because a handler does not learn the sender. Children inherit what is
blocked, so that a child must unblock them (`corral.processes.lent`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

TAKEN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SI_KERNEL = 0x80
"""The `si_code` of keys and of a terminal that hangs up (asm-generic/siginfo.h); that of `kill` is 0."""


def take_signals(take: Callable[[int, bool], None]) -> None:
    """Call `take` in a thread for each signal from now on, with whether it comes from the terminal.

    Before any other thread starts: those that do not block it would be ended by it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)
    threading.Thread(target=_wait, args=(take,), name="signals", daemon=True).start()


def _wait(take: Callable[[int, bool], None]) -> None:
    while True:
        info = signal.sigwaitinfo(TAKEN)
        take(info.si_signo, info.si_code == _SI_KERNEL)
