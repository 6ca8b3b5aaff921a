"""How long a task waits after an attempt that went wrong, the same in the queue's lifecycle and in the simulator."""

from __future__ import annotations

from datetime import timedelta

BACKOFF_BASE = timedelta(seconds=1)
BACKOFF_CAP = timedelta(minutes=5)
MAX_LOSSES = 20
"""A task that was running each of twenty times its server or slot died is suspected of killing them."""


def backoff(failures: int, jitter: float) -> timedelta:
    """Return how long to wait after the given number of failures: exponential, capped, spread by `jitter` in 0 to 1."""
    full = min(BACKOFF_BASE * 2 ** min(failures - 1, 20), BACKOFF_CAP)
    return full * (0.5 + 0.5 * jitter)
