"""How routes write into the audit log."""

from __future__ import annotations

from corral.server.api.state import ApiState
from corral.server.auth import Caller
from corral.tasks.store.audit import Act, Action, append_act
from corral.work import Json


def describe_act(caller: Caller, action: Action, subject: str, **details: Json) -> Act:
    """Describe what the caller does, to be entered in the transaction that does it."""
    if caller.key not in (None, caller.owner):
        details = {**details, "by_key": caller.key}
    return Act(owner=caller.owner, origin=caller.origin, action=action, subject=subject, details=details)


async def record(api: ApiState, caller: Caller, action: Action, subject: str, **details: Json) -> None:
    """Append what the caller did outside of the database; to be called when it is done."""
    await append_act(api.services.pool, describe_act(caller, action, subject, **details))
