"""Makes a format of speech while it is spoken, through the encoder's process."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.gateway.speech.encoder import ENCODINGS, SPEECH_RATE
from corral.gateway.speech.requests import SpeechFormat
from corral.gateway.speech.sound import write_wav_head

MEDIA_TYPES: dict[SpeechFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_OTHER = "application/octet-stream"
_READ = 1 << 14
_MODULE = "corral.gateway.speech.encoder"

Write = Callable[[bytes], Awaitable[None]]


def find_media_type(format: str) -> str:
    """Return the media type of a format, by OpenAI's name for it."""
    return next((media_type for name, media_type in MEDIA_TYPES.items() if name == format), _OTHER)


class EncodingError(CorralError):
    """Speech could not be made into a format."""

    code: ClassVar[str] = "speech.encoding"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class Encoder:
    """Takes samples and writes a format; a process is started for formats that need one."""

    def __init__(self, format: SpeechFormat, python: Callable[[], str | None], write: Write) -> None:
        """`python` returns a Python that has PyAV; None where there is none."""
        self._format = format
        self._python = python
        self._write = write
        self._rate: int | None = None
        self._process: Process | None = None
        self._pumping: asyncio.Task[None] | None = None

    async def require(self) -> None:
        """Return when the format can be made here. Raises: EncodingError."""
        if self._format not in ("wav", "pcm") and self._python() is None:
            hint = "ask for `wav` or `pcm`, or run `corral engines install whisper`, which brings PyAV"
            raise EncodingError(
                f"{self._format!r} needs PyAV, which is not installed", where="response_format", hint=hint
            )

    async def feed(self, rate: int, samples: bytes) -> None:
        """Take samples, 16-bit mono. Raises: EncodingError."""
        if self._rate is None:
            self._rate = rate
            await self._begin(rate)
        if self._process is None:
            await self._write(samples)
            return
        assert self._process.stdin is not None, "it was started with a pipe"
        try:
            self._process.stdin.write(samples)
            await self._process.stdin.drain()
        except ConnectionError as error:
            raise EncodingError(f"the encoder of {self._format!r} ended early") from error

    async def finish(self) -> None:
        """Write what is left. Raises: EncodingError."""
        if self._process is None or self._pumping is None:
            return
        assert self._process.stdin is not None, "it was started with a pipe"
        self._process.stdin.close()
        await self._pumping
        if await self._process.wait() != 0:
            raise EncodingError(f"the encoder of {self._format!r} failed with exit code {self._process.returncode}")

    async def close(self) -> None:
        """End the process, whatever it does."""
        if self._pumping is not None:
            self._pumping.cancel()
            await asyncio.wait({self._pumping})
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _begin(self, rate: int) -> None:
        if self._format == "wav":
            await self._write(write_wav_head(rate))
            return
        if self._format == "pcm" and rate == SPEECH_RATE:
            return
        python = self._python()
        if python is None:
            raise EncodingError(f"{self._format!r} of {rate} samples per second needs PyAV", hint="ask for `wav`")
        assert self._format in ENCODINGS, "a format without an encoding was handled above"
        command = (python, "-P", "-m", _MODULE, self._format, str(rate))
        self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        self._pumping = asyncio.create_task(self._pump(self._process))

    async def _pump(self, process: Process) -> None:
        assert process.stdout is not None, "it was started with a pipe"
        while piece := await process.stdout.read(_READ):
            await self._write(piece)
