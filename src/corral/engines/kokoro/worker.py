"""Speaks with Kokoro: `kokoro`.

The model is a folder of the store: a network for onnxruntime, voices, and the numbers of sounds. A text is spoken
sentence by sentence, and each is sent as soon as it is spoken.

Belongs here: one model at a time, one text in, one WAV out.
Does not belong here: the sounds of a text (`phonemes`), files of the model (`files`).
"""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from corral.engines.kokoro.files import Style, choose_voice, find_model_file, read_pack, read_vocabulary, read_voices
from corral.engines.kokoro.phonemes import choose_language, find_phonemes, group_clauses, speak_with_espeak
from corral.engines.worker.job import Answer, Job, Talk, WorkerSettings
from corral.sentences import split_text
from corral.units import Bytes
from corral.work import EngineError, EngineUnavailableError, OutputFile, TaskInvalidError

SAMPLE_RATE = 24_000
_MOST_SOUNDS = 500
"""The network takes 512 numbers, of which the first and the last are 0; its voices have styles for up to 510 sounds."""
_SHORT_SENTENCES = 80
"""Characters; shorter sentences are spoken together, which sounds better than each alone."""
_LARGEST = 32_767


class Kokoro:
    """The engine inside its worker."""

    has_children = False

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._model: _Model | None = None

    def run(self, job: Job, talk: Talk) -> Answer:
        """Speak one text. Raises: EngineError, Cancelled."""
        model = self._ensure_loaded(job, talk)
        inputs = job.inputs
        name, style = _choose_voice(model, job)
        language = choose_language(inputs["language"], name, inputs["text"])
        talk.report_progress(None, "speaking")
        sentences = split_text(inputs["text"], first=1, others=_SHORT_SENTENCES)
        silence = np.zeros(round(inputs["sentence_silence_s"] * SAMPLE_RATE), np.int16)
        total, spoken, frames = sum(map(len, sentences)), 0, 0
        path = job.scratch / "speech.wav"
        with wave.open(str(path), "wb") as target:
            _describe(target)
            for number, sentence in enumerate(sentences):
                sound = np.concatenate(
                    ([silence] if number else []) + model.speak(sentence, language, style, job, talk)
                )
                target.writeframes(sound.tobytes())
                frames += len(sound)
                spoken += len(sentence)
                talk.send_piece("audio/wav", _write_wav(sound))
                talk.report_progress(spoken / total, f"{spoken:,} of {total:,} characters")
        values = {
            "duration_s": round(frames / SAMPLE_RATE, 3),
            "sample_rate": SAMPLE_RATE,
            "voice": name,
            "language": language,
        }
        return Answer(files=(OutputFile(name="speech.wav", path=path, media_type="audio/wav"),), values=values)

    def stop(self) -> None:
        """Nothing: it starts no programs that outlast a clause."""

    def _ensure_loaded(self, job: Job, talk: Talk) -> _Model:
        if self._model is None or self._model.folder != job.model_path:
            self._model = None  # frees the memory before the next model takes it
            talk.report_residents({})
            talk.report_progress(None, f"loading {job.model}")
            self._model = _Model(job.model_path, self._settings)
        # Reported each time: the model can have another name in each task.
        talk.report_residents({job.model: self._model.size})
        talk.check()
        return self._model


class _Model:
    """A network with its voices and its vocabulary."""

    def __init__(self, path: Path, settings: WorkerSettings) -> None:
        """Load a model. Raises: EngineError, TaskInvalidError."""
        self.folder = path
        network = find_model_file(path)
        self._numbers = read_vocabulary(network.parent)
        self.voices = read_voices(network.parent)
        self.size = Bytes(network.stat().st_size)
        self._session = _open(network, settings)
        inputs = _list_inputs(self._session)
        # kokoro-onnx and onnx-community name the same input differently.
        self._tokens = "input_ids" if "input_ids" in inputs else "tokens"
        if not {self._tokens, "style", "speed"} <= inputs:
            raise TaskInvalidError(f"{network.name!r} is not a network of Kokoro: its inputs are {sorted(inputs)}")

    def speak(self, sentence: str, language: str, style: Style, job: Job, talk: Talk) -> list[npt.NDArray[np.int16]]:
        """Return a sentence as sound, in one part or more; a cancel is obeyed between two of them."""
        parts: list[npt.NDArray[np.int16]] = []
        for sounds in group_clauses(find_phonemes(sentence, language, speak_with_espeak), _MOST_SOUNDS):
            talk.check()
            numbers = [self._numbers[sound] for sound in sounds if sound in self._numbers]
            if numbers:
                parts.append(self._compute(numbers, style, job.inputs["speed"]))
        return parts or [np.zeros(0, np.int16)]

    def _compute(self, numbers: list[int], style: Style, speed: float) -> npt.NDArray[np.int16]:
        asked: Mapping[str, Any] = {  # Any: arrays of several types
            self._tokens: np.array([[0, *numbers, 0]], dtype=np.int64),
            "style": style[min(len(numbers), len(style)) - 1][None, :],
            "speed": np.array([speed], dtype=np.float32),
        }
        try:
            sound = np.asarray(self._session.run(None, asked)[0], np.float32).ravel()
        except Exception as error:
            raise EngineError(f"onnxruntime failed: {error}") from error
        return (np.clip(sound, -1, 1) * _LARGEST).astype(np.int16)


def _choose_voice(model: _Model, job: Job) -> tuple[str, Style]:
    if not job.files:
        return choose_voice(model.voices, job.inputs["voice"], job.model)
    ((name, path),) = job.files.items()
    return choose_voice(read_pack(path, name), job.inputs["voice"], name)


def _open(network: Path, settings: WorkerSettings) -> ort.InferenceSession:
    options = cast("Any", ort.SessionOptions())  # Any: a class of C++, of which the stubs know nothing
    options.intra_op_num_threads = settings.threads
    providers = ["CPUExecutionProvider"]
    if settings.gpu and settings.options["cuda"]:
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            hint = "install `onnxruntime-gpu` in the engine's environment, or leave `cuda` off"
            raise EngineUnavailableError("onnxruntime is built without CUDA here", hint=hint)
        providers.insert(0, "CUDAExecutionProvider")
    try:
        return ort.InferenceSession(str(network), options, providers=providers)
    except Exception as error:
        raise EngineError(f"onnxruntime could not load {network.name!r}: {error}") from error


def _list_inputs(session: ort.InferenceSession) -> set[str]:
    described = cast("Sequence[Any]", session.get_inputs())  # Any: as above
    return {entry.name for entry in described}


def _describe(target: wave.Wave_write) -> None:
    target.setnchannels(1)
    target.setsampwidth(2)
    target.setframerate(SAMPLE_RATE)


def _write_wav(sound: npt.NDArray[np.int16]) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as target:
        _describe(target)
        target.writeframes(sound.tobytes())
    return buffer.getvalue()
