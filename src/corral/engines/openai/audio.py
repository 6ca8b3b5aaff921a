"""Speech and transcriptions of a server that speaks OpenAI's API."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from pathlib import Path

from corral.engines import transcript
from corral.engines.http.client import ServerClient
from corral.engines.http.errors import GenerationFailedError, RequestRefusedError
from corral.engines.http.reading import find_message, read_json
from corral.engines.narrowing import keep_short
from corral.engines.openai.asking import ask, make_form
from corral.engines.openai.errors import translate_event
from corral.engines.openai.inputs import OpenAiInputs, OpenAiOptions
from corral.engines.openai.requests import PATHS, list_hearing_fields, make_speech_request
from corral.engines.openai.speech_dialects import SpeechDialect
from corral.engines.outputs import TEXT, OutputUnwritableError, append, write_text
from corral.engines.transcript import Segment, Word
from corral.narrowing import as_list, as_number, as_object, as_text
from corral.work import EngineError, Json, OutputFile, Produced, Reporter, SpeechRequest, Work

LARGEST_SPEECH = 2 * 2**30
"""Bytes of one answer: 12 hours of sound as WAV of 24,000 samples a second."""
_MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_USUAL_FORMAT = "mp3"
"""As OpenAI's API has it where none is asked for."""
_NOT_SOUND = ("text/", "application/json")
_KIB = 1024
_WAV_HEADER = 44
"""Bytes, as servers write it, without further chunks."""


async def speak(
    client: ServerClient,
    inputs: OpenAiInputs,
    options: OpenAiOptions,
    work: Work,
    report: Reporter,
    dialect: SpeechDialect | None = None,
) -> Produced:
    """Let the server say a text, in its own protocol if it has one; the file grows meanwhile. Raises: EngineError."""
    asked = make_speech_request(inputs, work.model or "", options)
    if dialect is None:
        written = inputs.format or _USUAL_FORMAT
        request = SpeechRequest(path=PATHS["speak"], body={"response_format": written, **asked}, format=written)
    else:
        request = dialect.translate(asked, voice=options.voice, language=options.language)
    path, size = work.scratch / f"speech.{request.format}", 0
    note = partial(report.progress, None)
    async with client.download(request.path, dict(request.body), note=note) as (media_type, pieces):
        if media_type.startswith(_NOT_SOUND):
            raise await _explain_no_sound(client, media_type, pieces)
        async for piece in pieces:
            size += len(piece)
            if size > LARGEST_SPEECH:
                raise client.make_answer_error(f"the speech is larger than {LARGEST_SPEECH} bytes")
            await append(path, piece)
            report.progress(None, f"{size // _KIB} KiB of speech")
    if not size:
        raise GenerationFailedError("the server ended its answer without any sound", where=client.url)
    file = OutputFile(
        name=path.name, path=path, media_type=_MEDIA_TYPES.get(request.format, "application/octet-stream")
    )
    return Produced(files=(file,), values={"bytes": size, "duration_s": await asyncio.to_thread(_measure, path)})


async def hear(client: ServerClient, inputs: OpenAiInputs, work: Work, report: Reporter) -> Produced:
    """Let the server transcribe or translate the task's one file. Raises: EngineError."""
    if len(work.files) != 1:
        what = f"{inputs.call()!r} takes exactly one audio file, and the task has {len(work.files)}"
        raise RequestRefusedError(what, where="files", hint="name one file under `files` of the task")
    ((name, path),) = work.files.items()
    report.progress(None, "listening")
    fields = list_hearing_fields(inputs, work.model or "")
    note = partial(report.progress, None)
    answer = await ask(client, PATHS[inputs.call()], make_form(fields, [("file", name, path)]), note)
    text = as_text(answer.get("text")).strip()
    values: dict[str, Json] = {
        "text": keep_short(text),
        "language": as_text(answer.get("language")) or inputs.language,
        "duration_s": _read_seconds(answer.get("duration")),
    }
    segments = list(_read_segments(answer))
    if not segments:
        return Produced(files=(await write_text(work.scratch, "text.txt", f"{text}\n", TEXT),), values=values)
    try:
        files = await asyncio.to_thread(transcript.write_files, work.scratch, segments, text)
    except OSError as error:
        raise OutputUnwritableError(
            f"cannot write the transcript: {error.strerror}", where=str(work.scratch)
        ) from error
    return Produced(files=files, values=values)


async def _explain_no_sound(client: ServerClient, media_type: str, pieces: AsyncIterator[bytes]) -> EngineError:
    answer = as_object(await read_json(pieces, client.make_answer_error))
    if find_message(answer):
        return translate_event(answer, where=client.url)
    return client.make_answer_error(f"the server answered with {media_type} in place of sound")


def _read_segments(answer: Mapping[str, Json]) -> Iterator[Segment]:
    """Read the segments of `verbose_json`; words are listed apart from them, by time."""
    words = [_read_word(as_object(word)) for word in as_list(answer.get("words"))]
    for facts in map(as_object, as_list(answer.get("segments"))):
        start, end = as_number(facts.get("start")), as_number(facts.get("end"))
        if start is None or end is None:
            continue
        own = [_read_word(as_object(word)) for word in as_list(facts.get("words"))]
        inside = own or [word for word in words if start <= word.start < end]
        yield Segment(start=start, end=end, text=as_text(facts.get("text")).strip(), words=tuple(inside))


def _read_word(facts: Mapping[str, Json]) -> Word:
    start, end = as_number(facts.get("start")) or 0.0, as_number(facts.get("end")) or 0.0
    return Word(start=start, end=end, text=as_text(facts.get("word")), probability=as_number(facts.get("probability")))


def _read_seconds(value: Json) -> float | None:
    """Read a duration, which vLLM writes as text."""
    try:
        return float(value) if isinstance(value, str) else as_number(value)
    except ValueError:
        return None


def _measure(path: Path) -> float | None:
    """Return the seconds of a WAV with whole numbers in it; None of any other sound.

    A server that streams does not know the length that the header has room for, so the file's size counts.
    """
    if path.suffix != ".wav":
        return None
    try:
        with wave.open(str(path), "rb") as sound:
            frame = sound.getnchannels() * sound.getsampwidth()
            frames = min(sound.getnframes(), (path.stat().st_size - _WAV_HEADER) // frame)
            return round(frames / sound.getframerate(), 3)
    except (wave.Error, EOFError, ZeroDivisionError):
        return None
