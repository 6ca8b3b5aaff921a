"""The inputs of a `kokoro` task, and the engine's options in the cluster file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from corral.engines.schema import EngineInputs, EngineOptions


class KokoroInputs(EngineInputs):
    """Inputs of `kokoro`; a file, if there is one, is a voice of one's own."""

    text: str = Field(
        min_length=1, max_length=100_000, pattern=r"[^\W_]", description="The text to say; line breaks count as spaces."
    )
    voice: str | None = Field(
        None, min_length=1, max_length=200, description="A voice of the model; its first one, or the file, when absent."
    )
    language: Literal["en-us", "en-gb", "es", "fr-fr", "hi", "it", "pt-br"] | None = Field(
        None, description="How the text is read; by the first letter of the voice's name (`af_heart`) when absent."
    )
    speed: float = Field(1.0, ge=0.25, le=4, description="2 takes half as long.")
    sentence_silence_s: float = Field(0.0, ge=0, le=30, description="More silence after each sentence.")


class KokoroOptions(EngineOptions):
    """Settings of `kokoro` in the cluster file."""

    cuda: bool = Field(
        False, description="Speak on the slot's GPU; needs `onnxruntime-gpu` in the engine's environment."
    )
