"""A long text in pieces, so that its progress is known, and the speech of the pieces as one file; nothing of Piper."""

from __future__ import annotations

import re
import wave
from collections.abc import Sequence
from pathlib import Path

PIECE_CHARACTERS = 600
"""Some 40 s of speech, which take seconds: a piece is what progress is counted in."""
_SENTENCE_END = re.compile(
    r"(?<=\w{4})[.!?\u2026]+[\"'\u00bb\u201d\u2019)]*\s+(?=[^\W\d_a-z])|(?<=[\u3002\uff01\uff1f])"
)
"""A sentence's end, followed by a capital, after a word too long to be an abbreviation; or one of Chinese or Japanese.

Piper speaks each sentence by itself, so a cut between two changes nothing; one after `Dr.` would add a pause."""
_WORD = re.compile(r"[^\W_]")
"""Something to say: Piper fails on a line without any."""


def split_text(text: str) -> list[str]:
    """Return the text, on one line, in pieces that end with a sentence and have about `PIECE_CHARACTERS` or more."""
    line = " ".join(text.split())
    pieces: list[str] = []
    begin = 0
    for match in _SENTENCE_END.finditer(line):
        end = match.end()
        if end - begin >= PIECE_CHARACTERS and _WORD.search(line, begin, end) and _WORD.search(line, end):
            pieces.append(line[begin:end].strip())
            begin = end
    return [*pieces, line[begin:]]


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
