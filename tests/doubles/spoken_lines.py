"""Lines that Kokoro speaks, for tests that compare voices: in this process, once each."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from corral.engines.kokoro.worker import Kokoro
from corral.engines.worker.job import Job, Talk, WorkerSettings
from doubles.local_engines import KOKORO, real_models

SHIPS, MORNING = "The ships in the harbor are waiting for the tide.", "Tomorrow morning they will sail to the open sea."
ANN, BEN = "jf_alpha", "jm_kumo"


@cache
def _open_kokoro() -> Kokoro:
    return Kokoro(WorkerSettings(gpu=False, threads=1, options={"cuda": False}, keep=Path("kept")))


@cache
def say(text: str, voice: str) -> bytes:
    """Return a line as a WAV of 24 kHz."""
    with tempfile.TemporaryDirectory() as scratch:
        inputs = {"text": text, "voice": voice, "language": "en-us", "speed": 1.0, "sentence_silence_s": 0.0}
        job = Job(
            attempt="a",
            model=KOKORO,
            model_path=real_models().path(KOKORO),
            inputs=inputs,
            files={},
            models={},
            scratch=Path(scratch),
            timeout_s=60.0,
            task=1,
            slots=("cpu0",),
        )
        (speech,) = _open_kokoro().run(job, Talk("a", lambda _message: None)).files
        return speech.path.read_bytes()
