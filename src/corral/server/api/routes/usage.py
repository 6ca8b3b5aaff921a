"""Usage of models."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime

from corral.hardware.power.measured import MeasuredDevice
from corral.server.api.errors import declare_refusals
from corral.server.api.measured_energy import read_measured
from corral.server.api.routing import make_router
from corral.server.api.state import Here, Viewer
from corral.server.api.usage_schemas import DeviceEnergyOut, EnergyOut, UsageLineOut, UsageOut
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


@router.get("/energy", summary="Show the energy of GPUs", responses=declare_refusals(422))
async def get_energy(
    api: Here,
    _: Viewer,
    since: Annotated[AwareDatetime | None, Query(description="from its hour on; a day ago when left out")] = None,
    until: Annotated[AwareDatetime | None, Query(description="before this instant; now when left out")] = None,
) -> EnergyOut:
    """Show what each GPU drew, as measured, next to the watts that forecasts take for a GPU at work.

    Only GPUs of machines on which a server runs are measured; hours without a measurement are missing from the sums.
    """
    end = until or dt.datetime.now(dt.UTC)
    begin = since or end - dt.timedelta(days=1)
    devices = await read_measured(api, begin, end)
    electricity = api.services.cluster.electricity
    return EnergyOut(
        since=begin,
        until=end,
        currency=None if electricity is None else electricity.currency,
        items=[_describe(device) for device in devices],
    )


def _describe(device: MeasuredDevice) -> DeviceEnergyOut:
    expected = device.expected
    return DeviceEnergyOut(
        device=device.device,
        joules=device.energy.joules,
        work_joules=device.energy.work_joules,
        seconds=device.energy.seconds,
        worked_seconds=device.energy.worked_s,
        watts=device.watts,
        expected_watts=None if expected is None else expected.value,
        expected_from=None if expected is None else expected.source,
        deviation=device.deviation,
        cost=device.cost,
    )
