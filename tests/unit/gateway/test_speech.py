"""What the audio routes ask of engines, and which model serves a client that has chosen none."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from corral.engine_kinds import CHATTERBOX, KOKORO, OPENAI, PIPER, WHISPER
from corral.errors import ProblemsError
from corral.gateway.catalogue import KnownModel, Offer
from corral.gateway.doors import Visitor
from corral.gateway.speech.models import HEARERS, SPEAKERS, choose_usual
from corral.gateway.speech.requests import SpeechBody, TranscriptionForm, check
from corral.gateway.speech.sound import read_wav, write_wav_head
from corral.gateway.speech.transcripts import Deltas, make_inputs
from corral.gateway.speech.voices import OwnVoice, VoiceUnknownError, prepare_speech
from corral.slots.guests import Choice
from corral.units import Bytes
from corral.work import HostedModel, Json

ANN = Visitor(owner="ann", can_submit=True)
OWN = OwnVoice(id="voice_1", name="captain", file=Path("ab12"), file_name="captain.npy", created_at=datetime.now(UTC))


class Book:
    async def list_built_in(self, choice: Choice) -> Mapping[str, Json]:
        return {"af_alloy": "af_alloy", "jf_alpha": "jf_alpha"} if choice.engine == KOKORO.name else {"low": 3}

    async def list_own(self, visitor: Visitor) -> Sequence[OwnVoice]:
        return (OWN,) if visitor.owner == "ann" else ()


async def ask(engine: str, visitor: Visitor = ANN, **fields: Json) -> tuple[dict[str, Json], dict[str, Path]]:
    body = check(SpeechBody, {"model": "m", "input": "Hello.", **fields})
    spoken = await prepare_speech(body, Choice(engine, "m"), visitor, Book())
    return dict(spoken.inputs), dict(spoken.files)


@pytest.mark.parametrize(
    ("engine", "fields", "inputs"),
    [
        (KOKORO.name, {}, {}),
        (KOKORO.name, {"voice": "jf_alpha", "speed": 2}, {"voice": "jf_alpha", "speed": 2}),
        (KOKORO.name, {"voice": "alloy"}, {"voice": "af_alloy"}),
        (KOKORO.name, {"voice": "onyx"}, {}),
        (PIPER.name, {"voice": "low", "speed": 2}, {"speaker": 3, "length_scale": 0.5}),
    ],
)
async def test_voice_and_speed_are_said_in_the_words_of_the_engine(
    engine: str, fields: dict[str, Json], inputs: dict[str, Json]
) -> None:
    assert await ask(engine, **fields) == ({"text": "Hello.", **inputs}, {})


@pytest.mark.parametrize("voice", ["voice_1", "captain", {"id": "voice_1"}])
async def test_own_voice_is_handed_over_as_a_file(voice: Json) -> None:
    assert await ask(KOKORO.name, voice=voice) == ({"text": "Hello."}, {"captain.npy": Path("ab12")})


async def test_voice_of_others_is_unknown_and_one_of_another_engine_is_refused() -> None:
    with pytest.raises(VoiceUnknownError, match="there is no voice 'captain'"):
        await ask(KOKORO.name, Visitor(owner="bob", can_submit=True), voice="captain")
    with pytest.raises(VoiceUnknownError, match=r"piper cannot speak with the voice 'captain', which is a \.npy"):
        await ask(PIPER.name, voice="captain")


def an_offer(engine: str, name: str, size: int = 0) -> Offer:
    return Offer(
        name=name, models=(KnownModel(engine=engine, name=name, facts=HostedModel(name=name, size=Bytes(size))),)
    )


def test_client_that_has_chosen_no_model_gets_the_best_one_here() -> None:
    offers = (
        an_offer(OPENAI.name, "far", 9),
        an_offer(PIPER.name, "joe"),
        an_offer(KOKORO.name, "kokoro"),
        an_offer(WHISPER.name, "tiny", 1),
        an_offer(WHISPER.name, "base", 2),
    )

    speaks, hears = choose_usual(offers, SPEAKERS), choose_usual(offers, HEARERS)

    assert (speaks and speaks.name, hears and hears.name) == ("kokoro", "base")
    assert choose_usual(offers[3:], SPEAKERS) is None


def test_form_becomes_the_inputs_of_whisper() -> None:
    form = check(
        TranscriptionForm,
        {"model": "m", "language": "de", "prompt": "Corral", "temperature": "0.2", "granularities": ["word"]},
    )
    assert make_inputs(form, "transcribe") == {
        "task": "transcribe",
        "word_timestamps": True,
        "language": "de",
        "initial_prompt": "Corral",
        "temperature": 0.2,
    }


def test_every_problem_of_a_request_is_reported() -> None:
    with pytest.raises(ProblemsError) as raised:
        check(TranscriptionForm, {"response_format": "diarized_json", "language": "English", "temperature": "warm"})
    assert {problem.where for problem in raised.value.problems} == {
        "model",
        "response_format",
        "language",
        "temperature",
    }


def test_deltas_of_a_growing_text_are_the_text() -> None:
    deltas = Deltas()
    assert [deltas.find_new(text) for text in ("The", "The", "The ships wait.")] == ["The", "", " ships wait."]


def test_head_of_an_endless_wav_is_one_that_players_read() -> None:
    with wave.open(io.BytesIO(write_wav_head(24_000) + bytes(480))) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (24_000, 1, 2)
        assert sound.readframes(240) == bytes(480)


def test_speech_that_is_not_a_wav_is_refused() -> None:
    with pytest.raises(ValueError, match="not a WAV"):
        read_wav(b"<html>")


async def test_engine_that_clones_nothing_refuses_a_recording() -> None:
    recording = OwnVoice(id="voice_2", name="ben", file=Path("cd34"), file_name="ben.wav", created_at=datetime.now(UTC))

    class OneRecording(Book):
        async def list_own(self, visitor: Visitor) -> Sequence[OwnVoice]:
            return (recording,)

    body = check(SpeechBody, {"model": "m", "input": "Hello.", "voice": "ben"})
    with pytest.raises(VoiceUnknownError, match=r"kokoro cannot speak with the voice 'ben', which is a \.wav file"):
        await prepare_speech(body, Choice(KOKORO.name, "m"), ANN, OneRecording())
    spoken = await prepare_speech(body, Choice(CHATTERBOX.name, "m"), ANN, OneRecording())
    assert spoken.files == {"ben.wav": Path("cd34")}
