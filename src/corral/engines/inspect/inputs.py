"""The inputs of an `inspect` task."""

from __future__ import annotations

from corral.engines.schema import EngineInputs


class InspectInputs(EngineInputs):
    """Inputs of `inspect`: none; the picture is the task's one file."""
