"""When a server that ended can be started again; pure.

Each failure in a row doubles the wait, so that a server that cannot start costs little, and one that was killed once is
back at once. A server that was ready for long enough starts a new row. After some failures it is out of use until it is
asked for by hand: a program that failed five times in half a minute does not work the sixth time.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRules:
    """The bounds of restarts; seconds."""

    first_wait_s: float = 1.0
    """After the second failure in a row; there is no wait after the first."""
    longest_wait_s: float = 60.0
    settled_s: float = 60.0
    """A server that was ready this long works; its end begins a new row of failures."""
    most_failures: int = 5
    """In a row, before the server is out of use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The ends of a server, as far as they count."""

    failures: int = 0
    """In a row, the last one included."""
    ended_at: float = 0.0
    """On the clock of the caller, as all instants here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAt:
    """The server can be started at this instant, or now where it is past."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfUse:
    """The server is not started again."""

    failures: int


def add_end(history: History, *, ready_at: float | None, now: float, rules: RestartRules) -> History:
    """Return the history after an end that was not asked for; `ready_at` is None where the server was never ready."""
    settled = ready_at is not None and now - ready_at >= rules.settled_s
    return History(failures=1 if settled else history.failures + 1, ended_at=now)


def decide_start(history: History, *, rules: RestartRules) -> StartAt | OutOfUse:
    """Decide when the server can be started."""
    if history.failures >= rules.most_failures:
        return OutOfUse(failures=history.failures)
    if history.failures < 2:
        return StartAt(at=history.ended_at)
    wait = rules.first_wait_s * 2.0 ** (history.failures - 2)
    return StartAt(at=history.ended_at + min(wait, rules.longest_wait_s))
