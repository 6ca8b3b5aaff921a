"""Speaks with Piper: `piper`.

Piper is GPL-3, so it is only ever run as a program of its own, never imported. Its command line reads one line of text
at a time and writes one file for each, so the program stays warm between tasks (loading a voice takes 0.7 s on two
cores); speaker and scales are arguments, so another set of them starts another program. A long text is several lines.

Belongs here: the program, and one text in, one WAV out.
Does not belong here: ending processes (`corral.processes.programs`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import wave
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from corral.engines.piper.pieces import PIECE_CHARACTERS, join_speech
from corral.engines.piper.speakers import check_speaker, read_voice
from corral.engines.worker.job import Answer, Job, Talk, WorkerSettings
from corral.processes.programs import Programs
from corral.sentences import split_text
from corral.units import Bytes
from corral.work import EngineError, OutputFile

_ARGUMENTS = {
    "speaker": "--speaker",
    "length_scale": "--length-scale",
    "noise_scale": "--noise-scale",
    "noise_w_scale": "--noise-w-scale",
    "sentence_silence_s": "--sentence-silence",
    "volume": "--volume",
}
_WROTE = re.compile(r"\bWrote (.+\.wav)$")
"""What Piper logs after it has closed a file (1.3 to 1.8)."""


class Piper:
    """The engine inside its worker."""

    has_children = True

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._programs = Programs()
        self._program: _Program | None = None

    def run(self, job: Job, talk: Talk) -> Answer:
        """Speak one text. Raises: EngineError, Cancelled."""
        program = self._warm(job, talk)
        talk.call_when_cancelled(program.kill)
        talk.report_progress(None, "speaking")
        path = job.scratch / "speech.wav"
        try:
            pieces = split_text(job.inputs["text"], first=1, others=PIECE_CHARACTERS)
            parts = _speak_pieces(program, pieces, talk)
        except EngineError:
            talk.check()
            raise
        talk.report_residents({job.model: Bytes(job.model_path.stat().st_size)})
        join_speech(parts, path, silence_s=job.inputs["sentence_silence_s"])
        return Answer(
            files=(OutputFile(name="speech.wav", path=path, media_type="audio/wav"),), values=_read_facts(path)
        )

    def stop(self) -> None:
        """End the program."""
        self._programs.end_all()
        if self._program is not None:
            self._program.remove_folder()

    def _warm(self, job: Job, talk: Talk) -> _Program:
        argv = make_arguments(job.model_path, job.inputs, cuda=self._settings.gpu and self._settings.options["cuda"])
        if self._program is not None and self._program.argv == argv and self._program.alive:
            return self._program
        if self._program is not None:
            self._program.close()
            self._program = None
            talk.report_residents({})
        check_speaker(read_voice(job.model_path), job.inputs["speaker"], voice=job.model)
        self._program = _Program(argv, self._programs)
        return self._program


def _speak_pieces(program: _Program, pieces: Sequence[str], talk: Talk) -> list[Path]:
    parts: list[Path] = []
    total, spoken = sum(map(len, pieces)), 0
    for piece in pieces:
        parts.append(program.speak(piece))
        talk.check()
        talk.send_piece("audio/wav", parts[-1].read_bytes())
        spoken += len(piece)
        talk.report_progress(spoken / total, f"{spoken:,} of {total:,} characters")
    return parts


def make_arguments(model: Path, inputs: Mapping[str, Any], *, cuda: bool) -> tuple[str, ...]:  # Any: JSON
    """Return the arguments that a task's inputs mean; the voice's own values where they are absent."""
    given = ((option, inputs[name]) for name, option in _ARGUMENTS.items() if inputs[name] is not None)
    scales = (part for option, value in given for part in (option, str(value)))
    return ("--model", str(model), *scales, *(("--cuda",) if cuda else ()))


class _Program:
    """A running Piper, started for one voice and one set of scales."""

    def __init__(self, argv: tuple[str, ...], programs: Programs) -> None:
        self.argv = argv
        self._folder = Path(tempfile.mkdtemp(prefix="corral-piper-"))
        self._last_lines: deque[str] = deque(maxlen=4)
        self._process = programs.start(
            (sys.executable, "-P", "-m", "piper", *argv, "--output-dir", str(self._folder)),
            environment={**os.environ, "PYTHONUTF8": "1"},
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def speak(self, text: str) -> Path:
        """Return the file that Piper wrote for one line of text. Raises: EngineError when it died instead."""
        line = text.encode("utf-8", errors="replace") + b"\n"
        with suppress(BrokenPipeError):  # it died; its last lines, read below, have the reason
            _require_pipe(self._process.stdin).write(line)
        while printed := _require_pipe(self._process.stderr).readline():
            sys.stderr.buffer.write(printed)
            sys.stderr.flush()
            words = printed.decode(errors="replace").strip()
            self._last_lines.append(words)
            if match := _WROTE.search(words):
                return self._folder / Path(match[1]).name
        code = self._process.wait()
        raise EngineError(f"piper ended with exit code {code}; last lines: {'; '.join(self._last_lines)}")

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self.kill()
        self._process.wait()
        _require_pipe(self._process.stdin).close()
        _require_pipe(self._process.stderr).close()
        self.remove_folder()

    def remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _require_pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _read_facts(path: Path) -> dict[str, Any]:  # Any: JSON
    with wave.open(str(path), "rb") as audio:
        rate = audio.getframerate()
        return {"duration_s": round(audio.getnframes() / rate, 3), "sample_rate": rate}
