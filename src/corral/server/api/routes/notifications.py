"""Receivers of word from the server: how it stands with each, and a message to try them."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from starlette.responses import Response

from corral.notifications.outbox import list_standings
from corral.notifications.standings import (
    ReceiverAnswer,
    ReceiversAnswer,
    Trial,
    TrialAnswer,
    TrialAsked,
    describe,
    try_receivers,
)
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals
from corral.server.api.routing import make_router
from corral.server.api.state import Admin, Here, Viewer
from corral.server.api.wired import answer, defer, describe_answers, describe_requests

router = make_router("server", prefix="/corral/v1/notifications", route_class=StrictRoute)

describe_requests(TrialAsked)
describe_answers(ReceiverAnswer, ReceiversAnswer, TrialAnswer, Trial)


@router.get("", summary="List receivers", response_model=defer(ReceiversAnswer), responses=declare_refusals())
async def list_receivers(api: Here, caller: Viewer) -> Response:
    """List who gets word of batches, failures, slots and the disk: what waits for each, and its last problem."""
    services = api.services
    return answer(describe(services.cluster, await list_standings(services.pool), datetime.now(UTC)))


@router.post(
    "/test",
    summary="Try receivers",
    response_model=defer(TrialAnswer),
    responses=declare_refusals(400, 404, 413),
)
async def try_now(asked: TrialAsked, api: Here, caller: Admin) -> Response:
    """Send a message to each receiver of the cluster file, or to one; the answer comes when each has answered."""
    return answer(await try_receivers(api.services.cluster, asked, os.environ, datetime.now(UTC)))
