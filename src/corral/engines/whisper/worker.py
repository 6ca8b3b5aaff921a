"""Transcribes speech with faster-whisper: `whisper`.

The model is a folder of the store, loaded from disk alone; the library's own downloads are switched off.

Belongs here: one model at a time, one audio file in, text and subtitles out.
Does not belong here: the files of a transcript (`corral.engines.transcript`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

from av.error import FFmpegError
from faster_whisper import BatchedInferencePipeline, WhisperModel

from corral.engines import transcript
from corral.engines.worker.job import Answer, Job, Talk, WorkerSettings
from corral.units import Bytes, format_duration
from corral.work import EngineError, TaskInvalidError


class Whisper:
    """The engine inside its worker."""

    has_children = False

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._path: Path | None = None
        self._model: WhisperModel | None = None

    def run(self, job: Job, talk: Talk) -> Answer:
        """Transcribe one file. Raises: EngineError, Cancelled."""
        model = self._ensure_loaded(job, talk)
        _check_language(model, job)
        talk.report_progress(None, "listening")
        decoded, facts = _begin(model, job, self._settings.options["batch_size"])
        segments = _follow(decoded, facts.duration, talk)
        text = transcript.join_texts(segments)
        values = {"text": text, "language": facts.language, "duration_s": round(facts.duration, 3)}
        return Answer(files=transcript.write_files(job.scratch, segments, text), values=values)

    def stop(self) -> None:
        """Nothing: it starts no programs."""

    def _ensure_loaded(self, job: Job, talk: Talk) -> WhisperModel:
        if self._model is None or self._path != job.model_path:
            self._model = self._path = None  # frees the memory before the next model takes it
            talk.report_residents({})
            talk.report_progress(None, f"loading {job.model}")
            self._model = _load(job.model_path, self._settings)
            self._path = job.model_path
        # Reported each time: the model can have another name in each task.
        talk.report_residents({job.model: _measure_folder(job.model_path)})
        talk.check()
        return self._model


class _Facts(Protocol):
    @property
    def duration(self) -> float: ...
    @property
    def language(self) -> str: ...


class _Word(Protocol):
    start: float
    end: float
    word: str
    probability: float


class _DecodedSegment(Protocol):
    start: float
    end: float
    text: str
    words: list[_Word] | None
    seek: int
    tokens: list[int]
    temperature: float | None
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


def _load(path: Path, settings: WorkerSettings) -> WhisperModel:
    if not (path / "model.bin").is_file():
        raise TaskInvalidError(
            f"the model folder {path.name!r} holds no 'model.bin'", hint="use a Whisper model converted for CTranslate2"
        )
    wanted = settings.options["compute_type"]
    default = "float16" if settings.gpu else "int8"
    try:
        return WhisperModel(
            str(path),
            device="cuda" if settings.gpu else "cpu",
            compute_type=default if wanted == "default" else wanted,
            cpu_threads=settings.threads,
            local_files_only=True,
        )
    except (RuntimeError, ValueError) as error:
        raise EngineError(f"faster-whisper could not load {path.name!r}: {error}") from error


def _check_language(model: WhisperModel, job: Job) -> None:
    """Refuse what faster-whisper would change without a word: a model for English hears English alone.

    Raises: TaskInvalidError.
    """
    if model.model.is_multilingual:
        return
    language, hint = job.inputs["language"], "use a model for all languages, without `.en` in its name"
    if language not in (None, "en"):
        raise TaskInvalidError(f"{job.model!r} is for English alone, and the language is {language!r}", hint=hint)
    if job.inputs["task"] == "translate":
        raise TaskInvalidError(f"{job.model!r} is for English alone and does not translate", hint=hint)


def _begin(model: WhisperModel, job: Job, batch_size: int) -> tuple[Iterable[transcript.Segment], _Facts]:
    """Decode the audio and detect the language; the segments come later, one by one."""
    (audio,) = job.files.values()
    inputs = job.inputs
    asked = {name: inputs[name] for name in ("language", "task", "beam_size", "initial_prompt")}
    if inputs["temperature"]:
        asked["temperature"] = inputs["temperature"]
    try:
        if batch_size == 1:
            decoded, facts = model.transcribe(
                str(audio), word_timestamps=inputs["word_timestamps"], vad_filter=inputs["vad"], **asked
            )
            return map(_read_segment, cast("Iterable[_DecodedSegment]", decoded)), facts
        # With timestamps of its own the batched decoder drops what it takes for unfinished at the end of a stretch (a
        # tenth of the words of 200 s were seen to be lost); without, a segment is a stretch, which its words divide.
        decoded, facts = BatchedInferencePipeline(model).transcribe(
            str(audio), word_timestamps=True, without_timestamps=True, batch_size=batch_size, **asked
        )
        stretches = map(_read_segment, cast("Iterable[_DecodedSegment]", decoded))
        return _divide(stretches, keep_words=inputs["word_timestamps"]), facts
    except (FFmpegError, IndexError) as error:  # IndexError: a file without an audio stream
        (name,) = job.files
        reason = getattr(error, "strerror", None) or "it has no audio stream"
        raise TaskInvalidError(f"{name!r} holds no audio that can be decoded: {reason}") from error
    except ValueError as error:  # a language or task that the model does not know
        raise TaskInvalidError(f"faster-whisper refused the request: {error}") from error


def _read_segment(item: _DecodedSegment) -> transcript.Segment:
    words = tuple(
        transcript.Word(start=word.start, end=word.end, text=word.word, probability=round(word.probability, 4))
        for word in item.words or ()
    )
    decoded = transcript.Decoded(
        seek=item.seek,
        tokens=tuple(item.tokens),
        temperature=item.temperature,
        avg_logprob=round(item.avg_logprob, 4),
        compression_ratio=round(item.compression_ratio, 4),
        no_speech_prob=round(item.no_speech_prob, 4),
    )
    return transcript.Segment(start=item.start, end=item.end, text=item.text.strip(), words=words, decoded=decoded)


def _divide(stretches: Iterable[transcript.Segment], *, keep_words: bool) -> Iterator[transcript.Segment]:
    for stretch in stretches:
        for segment in transcript.split_segment(stretch):
            yield segment if keep_words else replace(segment, words=())


def _follow(decoded: Iterable[transcript.Segment], duration: float, talk: Talk) -> list[transcript.Segment]:
    """Collect segments as they are decoded; a cancel is obeyed between two of them."""
    segments: list[transcript.Segment] = []
    talk.check()
    for segment in decoded:
        segments.append(segment)
        note = f"{format_duration(segment.end)} of {format_duration(duration)}"
        talk.report_progress(segment.end / duration if duration else None, note)
        talk.show_preview("text/plain; charset=utf-8", lambda: transcript.join_texts(segments).encode())
        talk.check()
    return segments


def _measure_folder(path: Path) -> Bytes:
    return Bytes(sum(file.stat().st_size for file in path.iterdir() if file.is_file()))
