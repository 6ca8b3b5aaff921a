"""The inputs of an `onnx` task, and the engine's options in the cluster file."""

from __future__ import annotations

from pydantic import Field

from corral.engines.schema import EngineInputs, EngineOptions


class OnnxInputs(EngineInputs):
    """Inputs of `onnx`; the picture is the task's one file. Each model reads those that are for it."""

    seed: int | None = Field(
        None, ge=0, lt=2**32, description="The same face each time, of a model that makes them; another when absent."
    )
    variant: int = Field(0, ge=0, lt=2**32, description="Another picture of a seed's face; 0 is the face itself.")
    variation: float = Field(0.35, ge=0, le=1, description="How far a variant is from the face: 1 is another face.")
    least_score: float = Field(0.25, ge=0.01, le=1, description="Of a face that is counted, where faces are found.")


class OnnxOptions(EngineOptions):
    """Settings of `onnx` in the cluster file."""

    most_pixels: int = Field(
        16_777_216,
        ge=4096,
        le=100_000_000,
        description="Of a picture that is handed over; a larger one is refused before it is decoded. Checking it takes "
        "some 20 bytes of memory for each.",
    )
