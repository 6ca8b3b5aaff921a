"""`python -m corral.gateway.speech.encoder FORMAT RATE`: samples on standard input, the encoded stream on its output.

A program of its own: FFmpeg, below PyAV, has builds under the GPL, and can crash. It ends with its input.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from io import BufferedReader
from typing import Any, BinaryIO, cast

SPEECH_RATE = 24_000
"""Samples per second of `pcm`, by OpenAI's documentation."""
_READ = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How FFmpeg makes a format."""

    container: str
    codec: str
    rate: int | None
    """Samples per second that it takes; None for any."""
    sample_format: str
    options: tuple[tuple[str, str], ...] = ()


ENCODINGS = {
    # Without the table of frames at the beginning, which needs to seek back.
    "mp3": Encoding(
        container="mp3", codec="libmp3lame", rate=None, sample_format="s16p", options=(("write_xing", "0"),)
    ),
    # Pages of 100 ms, so that a client hears each sentence when it is made.
    "opus": Encoding(
        container="ogg", codec="libopus", rate=48_000, sample_format="s16", options=(("page_duration", "100000"),)
    ),
    "aac": Encoding(container="adts", codec="aac", rate=None, sample_format="fltp"),
    "flac": Encoding(container="flac", codec="flac", rate=None, sample_format="s16"),
    "pcm": Encoding(container="s16le", codec="pcm_s16le", rate=SPEECH_RATE, sample_format="s16"),
}


class _Sink:
    """Standard output as a file that cannot seek."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output

    def write(self, data: bytes) -> int:
        """Write and send at once."""
        self._output.write(data)
        self._output.flush()
        return len(data)


def encode(encoding: Encoding, rate: int, source: BufferedReader, target: BinaryIO) -> None:
    """Encode 16-bit mono samples until the source ends."""
    import av
    import numpy as np

    # The stubs of PyAV do not know files without `seek`, nor the attributes of streams by their codec.
    container = cast("Any", av.open)(_Sink(target), "w", format=encoding.container, options=dict(encoding.options))
    stream = container.add_stream(encoding.codec, rate=encoding.rate or rate)
    stream.layout = "mono"
    stream.format = encoding.sample_format
    resampler = av.AudioResampler(format=encoding.sample_format, layout="mono", rate=encoding.rate or rate)
    rest = b""
    while chunk := source.read1(_READ):
        whole, rest = _split(rest + chunk)
        if not whole:
            continue
        frame = av.AudioFrame.from_ndarray(np.frombuffer(whole, np.int16)[None, :], format="s16", layout="mono")
        frame.sample_rate = rate
        for resampled in resampler.resample(frame):
            container.mux(stream.encode(resampled))
    for resampled in resampler.resample(None):
        container.mux(stream.encode(resampled))
    container.mux(stream.encode(None))
    container.close()


def _split(samples: bytes) -> tuple[bytes, bytes]:
    end = len(samples) - len(samples) % 2
    return samples[:end], samples[end:]


if __name__ == "__main__":
    encode(ENCODINGS[sys.argv[1]], int(sys.argv[2]), cast("BufferedReader", sys.stdin.buffer), sys.stdout.buffer)
