"""The answers of transcriptions: OpenAI's forms, made of the files of a transcript."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from corral.gateway.speech.requests import TextFormat, TranscriptionForm
from corral.narrowing import as_list, as_number, as_object, as_text
from corral.work import Json, Produced

Task = Literal["transcribe", "translate"]
_FILES: Mapping[TextFormat, tuple[str, str]] = {
    "text": ("text.txt", "text/plain; charset=utf-8"),
    "srt": ("subtitles.srt", "application/x-subrip; charset=utf-8"),
    "vtt": ("subtitles.vtt", "text/vtt; charset=utf-8"),
}


def make_inputs(form: TranscriptionForm, task: Task) -> dict[str, Json]:
    """Return the inputs of Whisper that a request means."""
    inputs: dict[str, Json] = {"task": task, "word_timestamps": "word" in form.granularities}
    if form.chunking_strategy is not None:  # OpenAI cuts at silence then
        inputs["vad"] = True
    given = {"language": form.language, "initial_prompt": form.prompt, "temperature": form.temperature}
    return inputs | {name: value for name, value in given.items() if value is not None}


def write_answer(form: TranscriptionForm, task: Task, produced: Produced) -> tuple[str, bytes]:
    """Return the media type and the body of a whole answer; reads files. Raises: OSError."""
    files = {file.name: file.path for file in produced.files}
    if form.response_format in _FILES:
        name, media_type = _FILES[form.response_format]
        return media_type, files[name].read_bytes()
    answer = describe_short(produced)
    if form.response_format == "verbose_json":
        answer = _describe_whole(task, produced, files["segments.json"], form)
    return "application/json", json.dumps(answer, ensure_ascii=False).encode()


def describe_short(produced: Produced) -> dict[str, Json]:
    """Describe a transcript as `json` has it."""
    seconds = as_number(produced.values.get("duration_s"))
    usage = None if seconds is None else {"type": "duration", "seconds": round(seconds)}
    return {"text": as_text(produced.values.get("text")), "usage": usage}


def _describe_whole(task: Task, produced: Produced, path: Path, form: TranscriptionForm) -> dict[str, Json]:
    segments = [as_object(segment) for segment in as_list(json.loads(path.read_text(encoding="utf-8")))]
    answer: dict[str, Json] = {
        "task": task,
        "language": produced.values.get("language"),
        "duration": produced.values.get("duration_s"),
        **describe_short(produced),
        "segments": [_describe_segment(number, segment) for number, segment in enumerate(segments)],
    }
    if "word" in form.granularities:
        words = [as_object(word) for segment in segments for word in as_list(segment.get("words"))]
        answer["words"] = [
            {"word": as_text(word.get("text")).strip(), "start": word.get("start"), "end": word.get("end")}
            for word in words
        ]
    return answer


def _describe_segment(number: int, segment: Mapping[str, Any]) -> dict[str, Json]:  # Any: JSON
    kept = (
        "seek",
        "start",
        "end",
        "text",
        "tokens",
        "temperature",
        "avg_logprob",
        "compression_ratio",
        "no_speech_prob",
    )
    return {"id": number, **{name: segment.get(name) for name in kept}}


class Deltas:
    """The new parts of a text that is shown again and again, longer each time."""

    def __init__(self) -> None:
        self._text = ""

    def find_new(self, text: str) -> str:
        """Return what the text has more than before; the text only ever grows at its end."""
        new, self._text = text[len(self._text) :], text
        return new
