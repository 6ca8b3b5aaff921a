"""The speech of pieces becomes one file."""

from __future__ import annotations

import wave
from pathlib import Path

from corral.engines.piper.pieces import join_speech


def write_tone(path: Path, frames: int) -> Path:
    with wave.open(str(path), "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(1000)
        audio.writeframes(b"\x01\x02" * frames)
    return path


def test_speech_is_joined_with_the_silence_that_is_between_sentences(tmp_path: Path) -> None:
    parts = [write_tone(tmp_path / "a.wav", 3), write_tone(tmp_path / "b.wav", 2)]
    join_speech(parts, tmp_path / "all.wav", silence_s=0.004)
    with wave.open(str(tmp_path / "all.wav"), "rb") as audio:
        assert audio.readframes(100) == b"\x01\x02" * 3 + bytes(2 * 4) + b"\x01\x02" * 2
    assert [path.name for path in tmp_path.iterdir()] == ["all.wav"]
