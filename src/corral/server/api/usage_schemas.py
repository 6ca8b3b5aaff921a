"""The shapes of answers about usage and energy."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import Field

from corral.server.api.schemas import Answer
from corral.tasks.store.usage import UsageBy


class UsageLineOut(Answer):
    """Sums of one group; what they are not summed up by is null."""

    day: date | None = Field(description="in UTC")
    key: str | None = Field(description="the token's name; null for what came without one")
    owner: str | None
    model: str | None
    engine: str | None = Field(description="null for what was done elsewhere or counted by an older version")
    door: str | None = Field(description="the way in: `openai`, `comfyui`, ...; `queue` for tasks of Corral's own API")
    requests: int
    prompt_tokens: int = Field(description="tokens that models read")
    completion_tokens: int = Field(description="tokens that models wrote")
    seconds: float = Field(description="for which lanes of slots were taken")
    joules: float | None = Field(description="of GPUs, as measured; null where none was")
    metered: int = Field(description="requests and attempts of tasks that these joules are of")


class UsageOut(Answer):
    """Requests and tokens, summed up."""

    by: UsageBy | None
    since: date | None
    items: list[UsageLineOut] = Field(description="the most tokens first, days in their order")


class DeviceEnergyOut(Answer):
    """The energy of a GPU, as measured."""

    device: str
    joules: float
    work_joules: float = Field(description="the part of Corral's own work")
    seconds: float = Field(description="for which it was measured")
    worked_seconds: float = Field(description="seconds of these in which Corral's work ran")
    watts: float | None = Field(description="while Corral's work ran, on average; null where none did")
    expected_watts: float | None = Field(description="those that forecasts take; null where nothing says them")
    expected_from: str | None = Field(description="where these come from")
    deviation: float | None = Field(description="of `watts` from them: 0.1 is 10 % above")
    cost: float | None = Field(description="by the price of each hour; null without a price in the cluster file")


class EnergyOut(Answer):
    """The energy of GPUs, as measured."""

    since: datetime
    until: datetime
    currency: str | None
    items: list[DeviceEnergyOut]
