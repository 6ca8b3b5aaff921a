"""Speaks with Chatterbox in the voice of a recording, and checks each line before it is handed out: `chatterbox`.

A clone can leave words out, invent some, or drift into another voice, and a batch of the night has no listener. So
Whisper hears each line, and an embedding of its speaker is compared with the recording's. A line that fails is spoken
again from another seed; where none passes, the attempt fails, and what was spoken is kept with it.

Belongs here: one model at a time, one text in, one WAV and its checks out.
Does not belong here: the library (`library`), the comparisons (`corral.engines.speech_checks`).
"""

from __future__ import annotations

import io
import json
import random
import textwrap
import wave
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corral.engines.chatterbox.files import WEIGHTS, require_length, require_weights
from corral.engines.chatterbox.hearing import Hear, decode_recording, load_hearing
from corral.engines.chatterbox.library import Cloner, Load, Sound, open_library
from corral.engines.speech_checks.speaker import (
    SAMPLE_RATE,
    WINDOW_S,
    SpeakerEncoder,
    measure_similarity,
    prepare,
)
from corral.engines.speech_checks.verdict import Limits, LineCheck, list_faults, rank, summarize
from corral.engines.speech_checks.words import measure_wrong_words
from corral.engines.tensors import Numbers
from corral.engines.worker.job import Answer, Job, Talk, WorkerSettings
from corral.sentences import split_text
from corral.units import Bytes
from corral.work import LINE_CHECK, EngineError, OutputFile, TaskInvalidError

_SHORT_SENTENCES, _LONGEST_LINE = 80, 300
"""Characters; shorter sentences are spoken together. The library ends a line after 1,000 tokens, which are 40 s."""
_LARGEST = 32_767
_SEEDS = 2**32

Samples = npt.NDArray[np.int16]


class Chatterbox:
    """The engine inside its worker."""

    has_children = False

    def __init__(
        self,
        settings: WorkerSettings,
        open_cloner: Callable[..., Load] = open_library,
        open_hearing: Callable[[Path, int], Hear] = load_hearing,
    ) -> None:
        """Import the library. Raises: ImportError."""
        self._settings = settings
        self._load = open_cloner(gpu=settings.gpu, threads=settings.threads)
        self._open_hearing = open_hearing
        self._limits = Limits(
            most_wrong_words=settings.options["most_wrong_words"],
            least_similarity=settings.options["least_similarity"],
        )
        self._cloner: tuple[Path, Cloner] | None = None
        self._judge: tuple[Mapping[str, Path], _Judge] | None = None

    def run(self, job: Job, talk: Talk) -> Answer:
        """Speak one text. Raises: EngineError, Cancelled."""
        judge = self._ensure_judge(job)
        recording = _read_recording(job)
        cloner = self._ensure_loaded(job, talk)
        if recording is None and not cloner.has_built_in_voice:
            hint = "hand over a recording of a voice as the task's file, or put `conds.pt` next to the weights"
            raise TaskInvalidError(f"{job.model!r} has no voice of its own", hint=hint)
        talk.report_progress(None, "listening to the recording")
        prompt = None if recording is None else _write_prompt(job, recording, cloner.sample_rate)
        cloner.take_voice(prompt, job.inputs["exaggeration"])
        speaker = None if prompt is None else judge.find_speaker(decode_recording(prompt, "the recording"))
        try:
            return self._speak(_Reading(job, talk, cloner, judge, speaker))
        finally:
            cloner.take_voice(None, 0.5)  # no voice stays for the next task

    def stop(self) -> None:
        """Nothing: it starts no programs."""

    def _speak(self, reading: _Reading) -> Answer:
        job, talk, rate = reading.job, reading.talk, reading.cloner.sample_rate
        lines = split_lines(job.inputs["text"])
        silence = np.zeros(round(job.inputs["sentence_silence_s"] * rate), np.int16)
        total, spoken, frames = sum(map(len, lines)), 0, 0
        checks: list[LineCheck] = []
        faults: list[str] = []
        path, checked = job.scratch / "speech.wav", job.scratch / "checks.json"
        files = (
            OutputFile(name=path.name, path=path, media_type="audio/wav"),
            OutputFile(name=checked.name, path=checked, media_type="application/json"),
        )
        with wave.open(str(path), "wb") as target:
            _describe(target, rate)
            for number, line in enumerate(lines):
                talk.check()
                samples, check = self._speak_line(reading, line, number)
                sound = np.concatenate(([silence] if number else []) + [samples])
                target.writeframes(sound.tobytes())
                checks.append(check)
                frames += len(sound)
                spoken += len(line)
                if faults := list_faults(check, self._limits):  # nothing of it is shown
                    break
                talk.send_piece(LINE_CHECK, json.dumps(asdict(check)).encode())
                talk.send_piece("audio/wav", _write_wav(sound, rate))
                talk.report_progress(spoken / total, f"{spoken:,} of {total:,} characters")
        checked.write_text(json.dumps([asdict(check) for check in checks], indent=2) + "\n", encoding="utf-8")
        if faults:
            tries = self._settings.options["tries"]
            what = f"line {len(checks)} of {len(lines)} failed its check {tries} times: {'; '.join(faults)}"
            hint = "listen to `speech.wav` of the attempt; a longer, quieter recording helps, or other limits do"
            raise EngineError(what, hint=hint, files=files)
        values = {
            "duration_s": round(frames / rate, 3),
            "sample_rate": rate,
            "lines": len(checks),
            **summarize(checks),
        }
        return Answer(files=files, values=values)

    def _speak_line(self, reading: _Reading, line: str, number: int) -> tuple[Samples, LineCheck]:
        """Speak a line until it passes; return the best of all tries."""
        inputs, tries = reading.job.inputs, self._settings.options["tries"]
        first = random.randrange(_SEEDS) if inputs["seed"] is None else inputs["seed"] + number * tries
        best: tuple[Samples, LineCheck] | None = None
        for at in range(tries):
            reading.talk.check()
            sound = reading.cloner.speak(
                line,
                exaggeration=inputs["exaggeration"],
                cfg_weight=inputs["cfg_weight"],
                temperature=inputs["temperature"],
                seed=(first + at) % _SEEDS,
            )
            samples = (np.clip(sound, -1, 1) * _LARGEST).astype(np.int16)
            check = reading.judge.check(line, _write_wav(samples, reading.cloner.sample_rate), reading.speaker)
            if best is None or rank(check, self._limits) < rank(best[1], self._limits):
                best = samples, check
            if not list_faults(check, self._limits):
                return samples, check
        assert best is not None, "there is at least one try"
        return best

    def _ensure_loaded(self, job: Job, talk: Talk) -> Cloner:
        if self._cloner is None or self._cloner[0] != job.model_path:
            require_weights(job.model_path)
            self._cloner = None  # frees the memory before the next model takes it
            talk.report_residents({})
            talk.report_progress(None, f"loading {job.model}")
            self._cloner = job.model_path, self._load(job.model_path)
        # Reported each time: the model can have another name in each task.
        size = sum((job.model_path / name).stat().st_size for name in WEIGHTS)
        talk.report_residents({job.model: Bytes(size)})
        talk.check()
        return self._cloner[1]

    def _ensure_judge(self, job: Job) -> _Judge:
        if self._judge is None or self._judge[0] != job.models:
            hears, compares = job.models["hears"], job.models["compares"]
            hear = self._open_hearing(hears, self._settings.threads)
            self._judge = job.models, _Judge(hear, SpeakerEncoder(compares))
        return self._judge[1]


class _Judge:
    """What hears a line, and what compares its voice."""

    def __init__(self, hear: Hear, encoder: SpeakerEncoder) -> None:
        self._hear = hear
        self._encoder = encoder

    def find_speaker(self, samples: Sound) -> Numbers:
        """Return who speaks in a recording. Raises: TaskInvalidError where it has too little speech."""
        speaker = self._find(samples)
        if speaker is None:
            what = f"the recording has less than {WINDOW_S} s of speech"
            raise TaskInvalidError(what, hint="use some 10 s of one person who speaks")
        return speaker

    def check(self, line: str, spoken: bytes, speaker: Numbers | None) -> LineCheck:
        """Hear a line as WAV, and compare its voice."""
        samples = decode_recording(io.BytesIO(spoken), "the line")
        heard = self._hear(samples)
        voice = None if speaker is None else self._find(samples)
        alike = None if speaker is None or voice is None else round(measure_similarity(speaker, voice), 3)
        return LineCheck(
            text=line, heard=heard, wrong_words=round(measure_wrong_words(line, heard), 3), similarity=alike
        )

    def _find(self, samples: Sound) -> Numbers | None:
        speech = prepare(samples)
        return self._encoder.embed(speech) if len(speech) >= WINDOW_S * SAMPLE_RATE else None


@dataclass(frozen=True, slots=True)
class _Reading:
    """A text that is being spoken."""

    job: Job
    talk: Talk
    cloner: Cloner
    judge: _Judge
    speaker: Numbers | None


def split_lines(text: str) -> list[str]:
    """Return the text in lines that the library speaks whole: sentences, and parts of those that are too long."""
    pieces = split_text(text, first=1, others=_SHORT_SENTENCES)
    return [line for piece in pieces for line in textwrap.wrap(piece, _LONGEST_LINE, break_on_hyphens=False)]


def _read_recording(job: Job) -> Path | None:
    if not job.files or job.inputs["voice"] is not None:
        return None
    ((_, path),) = job.files.items()
    return path


def _write_prompt(job: Job, recording: Path, rate: int) -> Path:
    """Write the recording as the WAV that the library reads; its own reader knows fewer forms."""
    (name,) = job.files
    samples = decode_recording(recording, name, rate)
    require_length(len(samples) / rate, name)
    path = job.scratch / "recording.wav"
    path.write_bytes(_write_wav((np.clip(samples, -1, 1) * _LARGEST).astype(np.int16), rate))
    return path


def _write_wav(samples: Samples, rate: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as target:
        _describe(target, rate)
        target.writeframes(samples.tobytes())
    return buffer.getvalue()


def _describe(target: wave.Wave_write, rate: int) -> None:
    target.setnchannels(1)
    target.setsampwidth(2)
    target.setframerate(rate)
