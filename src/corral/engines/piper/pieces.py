"""A long text in pieces, so that its progress is known, and the speech of the pieces as one file; nothing of Piper."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

PIECE_CHARACTERS = 600
"""Some 40 s of speech, which take seconds: a piece is what progress is counted in. The first one is a sentence."""


def join_speech(parts: Sequence[Path], target: Path, *, silence_s: float) -> None:
    """Write WAV files of one format as one, with silence between them, and remove them."""
    with wave.open(str(target), "wb") as joined:
        for number, path in enumerate(parts):
            with wave.open(str(path), "rb") as part:
                if number == 0:
                    joined.setparams(part.getparams())
                else:
                    joined.writeframes(bytes(round(silence_s * part.getframerate()) * _frame_size(part)))
                joined.writeframes(part.readframes(part.getnframes()))
            path.unlink()


def _frame_size(audio: wave.Wave_read) -> int:
    return audio.getnchannels() * audio.getsampwidth()
