"""The requests of the audio routes, checked: every problem of one is reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from corral.errors import Problem, ProblemsError
from corral.narrowing import as_object
from corral.work import Json

LONGEST_TEXT = 100_000
"""Characters to speak; OpenAI's own limit is 4,096, and local engines have none."""
SpeechFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
TextFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
ModelT = TypeVar("ModelT", bound=BaseModel)


def _read_voice(value: object) -> object:
    """OpenAI's clients name a voice, or a voice of one's own as `{"id": ...}`."""
    return as_object(value).get("id") if isinstance(value, dict) else value


class SpeechBody(BaseModel):
    """`POST /v1/audio/speech`; fields of other servers are left to them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    model: str = Field(min_length=1)
    input: str = Field(min_length=1, max_length=LONGEST_TEXT, pattern=r"[^\W_]")
    voice: Annotated[str | None, BeforeValidator(_read_voice)] = None
    instructions: str | None = None
    response_format: SpeechFormat = "mp3"
    speed: float = Field(1.0, ge=0.25, le=4)
    stream_format: Literal["audio", "sse"] = "audio"


class TranscriptionForm(BaseModel):
    """The fields of `POST /v1/audio/transcriptions` and `translations`, as a form has them: all are text."""

    model_config = ConfigDict(extra="allow", frozen=True)

    model: str = Field(min_length=1)
    language: str | None = Field(None, pattern="^[a-z]{2,3}$")
    prompt: str | None = Field(None, max_length=2_000)
    response_format: TextFormat = "json"
    temperature: float | None = Field(None, ge=0, le=1)
    stream: bool = False
    granularities: frozenset[Literal["word", "segment"]] = frozenset()
    chunking_strategy: str | None = None


def check(model: type[ModelT], fields: Mapping[str, Json]) -> ModelT:
    """Return checked fields. Raises: ProblemsError with every problem."""
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        raise ProblemsError([_make_problem(details["loc"], details["msg"]) for details in error.errors()]) from error


def _make_problem(location: tuple[int | str, ...], message: str) -> Problem:
    where = ".".join(map(str, location))
    what = f"{where}: {message[:1].lower()}{message[1:]}"
    return Problem(code="request.invalid", what=what, where=where, hint="see docs/doors/speech.md")
