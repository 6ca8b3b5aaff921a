"""Usage of models."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import Query

from corral.server.api.errors import declare_refusals
from corral.server.api.routing import make_router
from corral.server.api.schemas import UsageLineOut, UsageOut
from corral.server.api.state import Here, Viewer
from corral.server.auth import Role
from corral.tasks.store.usage import UsageBy, count_ended_tasks, list_usage
from corral.wire import to_json

router = make_router("usage", prefix="/corral/v1/usage")


@router.get("", summary="Show usage", responses=declare_refusals())
async def get_usage(
    api: Here,
    caller: Viewer,
    by: Annotated[UsageBy | None, Query(description="sum up by this alone; by all of these when left out")] = None,
    since: Annotated[dt.date | None, Query(description="the first day, in UTC; all days when left out")] = None,
) -> UsageOut:
    """Show requests, tokens and seconds of each key, model, engine, door or day (UTC).

    An administrator sees those of all, others their own. Requests of doors count when they end, tasks when they have
    succeeded; engines that report no tokens count none.
    """
    await api.services.keys.usage.write()
    await count_ended_tasks(api.services.pool)
    owner = None if caller.role is Role.ADMIN else caller.owner
    lines = await list_usage(api.services.pool, by=by, since=since, owner=owner)
    return UsageOut(by=by, since=since, items=[UsageLineOut.model_validate(to_json(line)) for line in lines])
