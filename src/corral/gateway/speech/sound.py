"""Speech as it comes from an engine, a whole WAV for each piece, and the two formats that need no encoder."""

from __future__ import annotations

import io
import struct
import wave

_UNKNOWN = 0xFFFFFFFF
"""The length of a WAV that is still being made, as FFmpeg and OpenAI write it."""


def read_wav(piece: bytes) -> tuple[int, bytes]:
    """Return samples per second and the samples, 16-bit mono. Raises: ValueError."""
    try:
        with wave.open(io.BytesIO(piece)) as sound:
            if (sound.getnchannels(), sound.getsampwidth()) != (1, 2):
                raise ValueError(f"speech has {sound.getnchannels()} channels of {8 * sound.getsampwidth()} bits")
            return sound.getframerate(), sound.readframes(sound.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"speech is not a WAV: {error}") from error


def write_wav_head(rate: int) -> bytes:
    """Return the head of a 16-bit mono WAV whose length is not known yet."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", _UNKNOWN, b"WAVE") + form + struct.pack("<4sI", b"data", _UNKNOWN)
