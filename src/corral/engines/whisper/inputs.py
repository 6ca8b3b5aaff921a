"""The inputs of a `whisper` task, and the engine's options in the cluster file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from corral.engines.schema import EngineInputs, EngineOptions


class WhisperInputs(EngineInputs):
    """Inputs of `whisper`; the audio is the task's one file."""

    language: str | None = Field(
        None, pattern="^[a-z]{2,3}$", description="Language spoken, such as `en`; detected when absent."
    )
    task: Literal["transcribe", "translate"] = Field(
        "transcribe", description="`translate` writes English whatever is spoken."
    )
    beam_size: int = Field(5, ge=1, le=20, description="Alternatives kept while decoding; 1 is fastest.")
    word_timestamps: bool = Field(False, description="Add the time of each word to `segments.json`.")
    vad: bool = Field(False, description="Skip what is not speech.")
    temperature: float | None = Field(
        None, ge=0, le=1, description="Variety of the words; from 0 on, higher where the text is unlikely, when absent."
    )
    initial_prompt: str | None = Field(
        None, max_length=2_000, description="Text that goes before, to guide names and spelling."
    )


class WhisperOptions(EngineOptions):
    """Settings of `whisper` in the cluster file."""

    compute_type: Literal["default", "auto", "int8", "int8_float16", "float16", "bfloat16", "float32"] = Field(
        "default", description="Precision; `default` is `int8` on a processor and `float16` on a GPU."
    )
    batch_size: int = Field(
        1,
        ge=1,
        le=64,
        description="Stretches of up to 30 s that are decoded together. With 8, `whisper-tiny.en` takes a third less "
        "time and 300 MiB more. Above 1, what is not speech is skipped, and each stretch is heard by itself.",
    )
