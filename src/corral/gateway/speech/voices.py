"""Which voice speaks: one of the model's own, one that was created, or the model's first one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol

from corral.engine_facts import SpeechRule
from corral.engine_kinds import ENGINES
from corral.errors import CorralError, Kind, did_you_mean
from corral.gateway.doors import Visitor
from corral.gateway.speech.requests import SpeechBody
from corral.slots.guests import Choice
from corral.work import Json

USUAL_VOICES = frozenset(
    {
        *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
        *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
    }
)
"""OpenAI's voices: clients send one of them until a voice is chosen."""


class VoiceUnknownError(CorralError):
    """The model has no voice of that name, and neither has the owner."""

    code: ClassVar[str] = "voice.unknown"
    kind: ClassVar[Kind] = Kind.INVALID


class SpeedFixedError(CorralError):
    """The engine has one speed."""

    code: ClassVar[str] = "speech.speed_fixed"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnVoice:
    """A voice that a person has created."""

    id: str
    name: str
    file: Path
    """Its sample, or a file of styles; kept by content, so its name says nothing."""
    file_name: str
    """The name under which an engine gets it; its ending says what it is."""
    created_at: datetime


class VoiceBook(Protocol):
    """Where voices are known; `corral.server` keeps it."""

    async def list_built_in(self, choice: Choice) -> Mapping[str, Json]:
        """Return the voices that a model comes with: their names, and what its engine's input says for each."""
        ...

    async def list_own(self, visitor: Visitor) -> Sequence[OwnVoice]:
        """Return the voices that the visitor's owner has created."""
        ...

    async def create(self, visitor: Visitor, *, name: str, consent: str, file: Path, file_name: str) -> OwnVoice:
        """Keep a voice for the visitor's owner. Raises: CorralError, also where no engine here speaks with the file."""
        ...

    async def delete(self, visitor: Visitor, voice_id: str) -> None:
        """Delete a voice of the visitor's owner, as an administrator any. Raises: CorralError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A text as an engine is asked to speak it."""

    inputs: Mapping[str, Json]
    files: Mapping[str, Path]


async def prepare_speech(body: SpeechBody, choice: Choice, visitor: Visitor, book: VoiceBook) -> Spoken:
    """Return what an engine is asked. Raises: VoiceUnknownError, SpeedFixedError."""
    rule = ENGINES[choice.engine].speech
    assert rule is not None, "only engines that speak are chosen"
    inputs: dict[str, Json] = {"text": body.input}
    if body.speed != 1:
        if rule.speed is None:
            hint = "leave `speed` out, or use a model of another engine"
            raise SpeedFixedError(f"{choice.engine} speaks at a speed of its own", where="speed", hint=hint)
        inputs[rule.speed] = 1 / body.speed if rule.speed_is_slowness else body.speed
    if body.voice is None:
        return Spoken(inputs=inputs, files={})
    built_in = await book.list_built_in(choice)
    if body.voice in built_in:
        return Spoken(inputs={**inputs, rule.voice: built_in[body.voice]}, files={})
    if body.voice in USUAL_VOICES:
        voice = _find_like(body.voice, built_in)
        return Spoken(inputs=inputs if voice is None else {**inputs, rule.voice: voice}, files={})
    own_voices = await book.list_own(visitor)
    own = next((own for own in own_voices if body.voice in (own.id, own.name)), None)
    if own is None:
        raise _make_unknown_error(body.voice, [*built_in, *(own.name for own in own_voices)])
    _require_suitable(own, rule, choice)
    return Spoken(inputs=inputs, files={own.file_name: own.file})


def _find_like(usual: str, built_in: Mapping[str, Json]) -> Json:
    """Return the input for one of OpenAI's voices: Kokoro has some after them, such as `af_alloy`; else None."""
    return next((value for name, value in built_in.items() if name.endswith(f"_{usual}")), None)


def _require_suitable(own: OwnVoice, rule: SpeechRule, choice: Choice) -> None:
    if not own.file_name.endswith(rule.voice_files):
        what = f"{choice.engine} cannot speak with the voice {own.name!r}, which is a {Path(own.file_name).suffix} file"
        hint = f"it takes {', '.join(rule.voice_files)}" if rule.voice_files else "use a model of another engine"
        raise VoiceUnknownError(what, where="voice", hint=hint)


def _make_unknown_error(asked: str, known: Sequence[str]) -> VoiceUnknownError:
    if not known:
        what = f"there is no voice {asked!r}: the model has one alone"
        return VoiceUnknownError(what, where="voice", hint="name none")
    return VoiceUnknownError(f"there is no voice {asked!r}", where="voice", hint=did_you_mean(asked, known))
