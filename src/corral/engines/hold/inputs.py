"""The inputs of a `hold` task."""

from __future__ import annotations

from pydantic import Field

from corral.engines.schema import EngineInputs

DEFAULT_TTL_S = 60.0
"""Long enough for a holder that is swapped out, short enough that a GPU is not lost with a program for long."""
LONGEST_S = 31_536_000.0
"""Of a hold with an end: a year."""


class HoldInputs(EngineInputs):
    """Inputs of `hold`."""

    ttl_s: float = Field(
        default=DEFAULT_TTL_S, ge=5, le=86_400, description="Seconds after which it is taken back unless renewed."
    )
    for_s: float | None = Field(
        default=None, gt=0, le=LONGEST_S, description="Seconds after which it is taken back in any case."
    )
    program: str = Field(default="", max_length=2000, description="The program that it is for, as people know it.")
