"""The inputs of a `piper` task, and the engine's options in the cluster file."""

from __future__ import annotations

from pydantic import Field

from corral.engines.schema import EngineInputs, EngineOptions


class PiperInputs(EngineInputs):
    """Inputs of `piper`."""

    text: str = Field(
        min_length=1, max_length=100_000, pattern=r"[^\W_]", description="The text to say; line breaks count as spaces."
    )
    speaker: int | None = Field(None, ge=0, le=10_000, description="Which speaker of a voice that has several.")
    length_scale: float | None = Field(
        None, ge=0.1, le=10, description="Slowness: 2 takes twice as long; the voice's own when absent."
    )
    noise_scale: float | None = Field(
        None, ge=0, le=2, description="Variation of the sound; 0 makes the sound the same each time."
    )
    noise_w_scale: float | None = Field(
        None, ge=0, le=2, description="Variation of rhythm; 0 makes the rhythm the same each time."
    )
    sentence_silence_s: float = Field(0.0, ge=0, le=30, description="Silence after each sentence.")
    volume: float = Field(1.0, gt=0, le=10, description="Loudness; 1 leaves it alone.")


class PiperOptions(EngineOptions):
    """Settings of `piper` in the cluster file."""

    cuda: bool = Field(False, description="Speak on the slot's GPU; needs `onnxruntime-gpu` in addition to Piper.")
