"""The energy that GPUs drew, as this server has stored it: for the route that shows it, and for forecasts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.hardware.power.measured import MeasuredDevice, sum_up
from corral.operations.forecasting import MeasuredWatts
from corral.server.api.state import ApiState
from corral.tasks.store.energy import read_device_energy
from corral.work import SlotId

LONGEST = timedelta(days=366)
"""Of one answer: it has a row for each GPU and hour."""


class EnergySpanError(CorralError):
    """Energy was asked for over no time, or over too long a time."""

    code: ClassVar[str] = "usage.span"
    kind: ClassVar[Kind] = Kind.INVALID


async def read_measured(api: ApiState, since: datetime, until: datetime) -> tuple[MeasuredDevice, ...]:
    """Read what GPUs drew in the hours from `since` to before `until`. Raises: EnergySpanError."""
    if not timedelta(0) < until - since <= LONGEST:
        what = f"energy is shown for a time of up to {LONGEST.days} days, and not from {since} to {until}"
        raise EnergySpanError(what, where="since", hint="give `since` and `until` closer together")
    hours = await read_device_energy(api.services.pool, since=since, until=until)
    return await asyncio.to_thread(sum_up, hours, api.services.cluster)


def make_watts_reader(api: ApiState) -> MeasuredWatts:
    """Return a reader of what GPUs drew at work, for a use case that runs in a thread."""
    loop = asyncio.get_running_loop()
    return lambda since: asyncio.run_coroutine_threadsafe(_read_watts(api, since), loop).result()


async def _read_watts(api: ApiState, since: datetime) -> dict[SlotId, float]:
    now = datetime.now(UTC)
    devices = await read_measured(api, max(since, now - LONGEST), now)
    return {SlotId(device.device): device.watts for device in devices if device.watts is not None}
