"""The exit codes of commands, on which a script can decide without reading a message."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from corral.errors import Kind
from corral.work import Json

TASKS_FAILED = 1
"""Everything worked but a task: it failed or was cancelled."""
INTERRUPTED = 130
"""Ctrl-C, as shells count it: 128 and the signal's number."""
CODES: Mapping[Kind, int] = MappingProxyType(
    {
        Kind.INVALID: 2,
        Kind.MISSING: 3,
        Kind.CONFLICT: 4,
        Kind.NO_CAPACITY: 5,
        Kind.UNAVAILABLE: 6,
        Kind.DENIED: 7,
        Kind.BUG: 70,
    }
)
"""The exit code of an error, by its kind; 70 is `EX_SOFTWARE` of sysexits.h."""


def exit_code(tasks: list[Json]) -> int:
    """Return 0 when every task succeeded."""
    return 0 if all(task["state"] == "succeeded" for task in tasks) else TASKS_FAILED
