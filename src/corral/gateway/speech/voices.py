"""Which voice speaks: one of the model's own, one that was created, or the model's first one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnVoice:
    """A voice that a person has created."""

    id: str
    name: str
    file: Path
    """Its sample, or a file of styles; kept by content, so its name says nothing."""
    file_name: str
    """The name under which an engine gets it; its ending says what it is."""


class VoiceBook(Protocol):
    """Where voices are known; `corral.server` keeps it."""

    async def list_built_in(self, choice: Choice) -> Mapping[str, Json]:
        """Return the voices that a model comes with: their names, and what its engine's input says for each."""
        ...

    async def list_own(self, visitor: Visitor) -> Sequence[OwnVoice]:
        """Return the voices that the visitor's owner has created."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A text as an engine is asked to speak it."""

    inputs: Mapping[str, Json]
    files: Mapping[str, Path]


async def prepare_speech(body: SpeechBody, choice: Choice, visitor: Visitor, book: VoiceBook) -> Spoken:
    """Return what an engine is asked. Raises: VoiceUnknownError."""
    rule = ENGINES[choice.engine].speech
    assert rule is not None, "only engines that speak are chosen"
    inputs: dict[str, Json] = {"text": body.input}
    if body.speed != 1:
        inputs[rule.speed] = 1 / body.speed if rule.speed_is_slowness else body.speed
    own = await _find_own(body.voice, visitor, book)
    if own is None:
        voice = _choose(body.voice, await book.list_built_in(choice), await book.list_own(visitor))
        return Spoken(inputs=inputs if voice is None else {**inputs, rule.voice: voice}, files={})
    _require_suitable(own, rule, choice)
    return Spoken(inputs=inputs, files={own.file_name: own.file})


async def _find_own(asked: str | None, visitor: Visitor, book: VoiceBook) -> OwnVoice | None:
    if asked is None or asked in USUAL_VOICES:
        return None
    voices = await book.list_own(visitor)
    by_id = next((voice for voice in voices if voice.id == asked), None)
    return by_id or next((voice for voice in voices if voice.name == asked), None)


def _require_suitable(own: OwnVoice, rule: SpeechRule, choice: Choice) -> None:
    if not own.file_name.endswith(rule.voice_files):
        what = f"{choice.engine} cannot speak with the voice {own.name!r}, which is a {Path(own.file_name).suffix} file"
        hint = f"it takes {', '.join(rule.voice_files)}" if rule.voice_files else "use a model of another engine"
        raise VoiceUnknownError(what, where="voice", hint=hint)


def _choose(asked: str | None, built_in: Mapping[str, Json], own: Iterable[OwnVoice]) -> Json:
    """Return what the engine's input says for a voice; None leaves the choice to the engine."""
    if asked is None:
        return None
    if asked in built_in:
        return built_in[asked]
    if asked in USUAL_VOICES:  # Kokoro has voices after OpenAI's: `af_alloy`
        return next((value for name, value in built_in.items() if name.endswith(f"_{asked}")), None)
    known = [*built_in, *(voice.name for voice in own)]
    if not known:
        raise VoiceUnknownError(
            f"there is no voice {asked!r}: the model has one alone", where="voice", hint="name none"
        )
    raise VoiceUnknownError(f"there is no voice {asked!r}", where="voice", hint=did_you_mean(asked, known))
