"""The lock of an installation: the program that changes it now, in the state that all machines share.

Its holder renews it while it works. Another program sees that the holder has died by two facts that need no clock to
agree: its process on the same machine has ended, or nothing was renewed for as long as that program has watched.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import ClassVar

from corral.deploying.state import State
from corral.errors import CorralError, Kind

RENEW_S = 4.0
STALE_S = 20.0
"""A lock that was not renewed for so long has no holder any more: five times its renewal."""
_ENTRY = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """The holder of an installation."""

    command: str
    """`corral apply`"""
    host: str
    machine: str
    """A name that no other machine has."""
    process: int
    token: str
    """A name that no other run has."""
    renewals: int = 0

    def __str__(self) -> str:
        return f"{self.command} on {self.host}, process {self.process}"


class BusyInstallationError(CorralError):
    """Another program changes the installation."""

    code: ClassVar[str] = "deploy.busy"
    kind: ClassVar[Kind] = Kind.CONFLICT


class LostLockError(CorralError):
    """Another program has taken the installation over; this one stopped."""

    code: ClassVar[str] = "deploy.lost_lock"
    kind: ClassVar[Kind] = Kind.CONFLICT


def read_lock(state: State) -> Lock | None:
    """Read the lock; None where nothing holds the installation, or where the entry cannot be read."""
    text = state.others.get(_ENTRY)
    if text is None:
        return None
    try:
        return Lock(**json.loads(text))
    except (ValueError, TypeError):
        return None


def put_lock(state: State, lock: Lock | None) -> State:
    """Return the state with a lock; None releases it."""
    return state.keep(_ENTRY, None if lock is None else json.dumps(asdict(lock)))


def is_same_run(first: Lock | None, second: Lock | None) -> bool:
    """Return whether two locks are those of one run, however often it was renewed."""
    return first is not None and second is not None and first.token == second.token
