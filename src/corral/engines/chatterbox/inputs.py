"""The inputs of a `chatterbox` task, and the engine's options in the cluster file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from corral.engines.schema import EngineInputs, EngineOptions


class ChatterboxInputs(EngineInputs):
    """Inputs of `chatterbox`; a file, if there is one, is a recording of the voice."""

    text: str = Field(
        min_length=1,
        max_length=100_000,
        pattern=r"[^\W_]",
        description="The English text to say, sentence by sentence.",
    )
    voice: Literal["built-in"] | None = Field(
        None, description="The voice that comes with the weights (`conds.pt`); the recording, when absent."
    )
    exaggeration: float = Field(
        0.5, ge=0, le=2, description="How expressive the voice is; its authors call extremes unstable."
    )
    cfg_weight: float = Field(
        0.5, ge=0, le=1, description="How closely it keeps to the text and the pace; 0 is freer and twice as fast."
    )
    temperature: float = Field(0.8, gt=0, le=2, description="Variety of the sound.")
    seed: int | None = Field(None, ge=0, lt=2**32, description="The same sound each time; another when absent.")
    sentence_silence_s: float = Field(0.0, ge=0, le=30, description="More silence after each sentence.")


class ChatterboxOptions(EngineOptions):
    """Settings of `chatterbox` in the cluster file: how each line that it speaks is checked."""

    hears: str = Field(
        "whisper-base",
        min_length=1,
        description="The Whisper model that hears each line, on the processor; `corral models pull` it.",
    )
    compares: str = Field(
        "resemblyzer",
        min_length=1,
        description="The model that compares each line's voice with the recording; `corral models pull` it.",
    )
    most_wrong_words: float = Field(
        0.25,
        ge=0,
        description="Share of a line's words that can be heard wrongly. Of 15 lines that Kokoro speaks clearly, "
        "`whisper-base` heard 11 rightly, and mistook one or two words in 4 (a share of 0.18 at most).",
    )
    least_similarity: float = Field(
        0.75,
        ge=0,
        le=1,
        description="How alike the voices must be. Lines of one voice of Kokoro are alike to 0.81 or more (median "
        "0.89), lines of two voices to 0.65 (median of 10 pairs; two near ones are alike to 0.83, and pass).",
    )
    tries: int = Field(
        3, ge=1, le=20, description="How often a line is spoken until it passes; the attempt fails where none does."
    )
