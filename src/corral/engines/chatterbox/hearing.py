"""Words that are heard of a line: by Whisper on the processor, so that the GPU stays with the voice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import numpy as np
from av.error import FFmpegError
from faster_whisper import WhisperModel
from faster_whisper.audio import decode_audio

from corral.engines.chatterbox.library import Sound
from corral.engines.speech_checks.speaker import SAMPLE_RATE
from corral.work import EngineError, TaskInvalidError

Hear = Callable[[Sound], str]
"""Returns the words of a line, at 16 kHz."""


class _Segment(Protocol):
    text: str


def load_hearing(path: Path, threads: int) -> Hear:
    """Load a Whisper model. Blocks. Raises: EngineError."""
    try:
        model = WhisperModel(str(path), device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True)
    except (RuntimeError, ValueError) as error:
        raise EngineError(f"faster-whisper could not load {path.name!r}, which hears each line: {error}") from error

    def hear(line: Sound) -> str:
        # It gets nothing of the line: a hint would make it hear what was asked for.
        segments, _ = model.transcribe(line, language="en", condition_on_previous_text=False, temperature=0.0)
        return " ".join(segment.text.strip() for segment in cast("Iterable[_Segment]", segments))

    return hear


def decode_recording(source: Path | BinaryIO, name: str, rate: int = SAMPLE_RATE) -> Sound:
    """Return a recording of any form as samples. Blocks. Raises: TaskInvalidError."""
    try:
        samples = decode_audio(str(source) if isinstance(source, Path) else source, sampling_rate=rate)
    except (FFmpegError, IndexError, ValueError) as error:  # IndexError: a file without an audio stream
        raise TaskInvalidError(f"{name!r} holds no audio that can be decoded: {error}") from error
    return np.asarray(samples, np.float32)
