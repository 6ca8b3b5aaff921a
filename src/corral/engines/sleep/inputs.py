"""The inputs of a `sleep` task."""

from __future__ import annotations

from pydantic import Field

from corral.engines.schema import EngineInputs


class SleepInputs(EngineInputs):
    """Inputs of `sleep`."""

    seconds: float = Field(ge=0, le=86_400, description="How long to wait.")
