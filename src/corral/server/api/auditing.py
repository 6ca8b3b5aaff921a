"""How routes write into the audit log."""

from __future__ import annotations

from corral.server.api.state import ApiState
from corral.server.auth import Caller
from corral.tasks.store.audit import Act, Action, append_act
from corral.work import Json


async def record(api: ApiState, caller: Caller, action: Action, subject: str, **details: Json) -> None:
    """Append what the caller did; to be called when it is done."""
    act = Act(owner=caller.owner, origin=caller.origin, action=action, subject=subject, details=details)
    await append_act(api.services.pool, act)
