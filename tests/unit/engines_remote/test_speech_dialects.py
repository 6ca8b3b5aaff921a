"""Requests to speak, in the protocols that servers of speech have of their own."""

from __future__ import annotations

from typing import Any

import pytest

from corral.engines.http.errors import RequestRefusedError
from corral.engines.openai.speech_dialects import SpeechDialect, find_dialect, list_dialects
from corral.work import SpeechRequest


def find(*paths: str) -> SpeechDialect:
    dialect = find_dialect(paths)
    assert dialect is not None
    return dialect


def translate(dialect: SpeechDialect, **request: Any) -> SpeechRequest:
    asked = {"model": dialect.name, "input": "The fox sleeps.", **request}
    return dialect.translate(asked, voice="narrator.wav", language="en")


def test_servers_are_known_by_their_path_and_others_speak_openais_protocol() -> None:
    assert find("/control", "/tts").name == "gpt-sovits"
    assert find("/tts_to_audio/", "/speakers").name == "xtts-api-server"
    assert find_dialect(["/v1/audio/speech", "/health"]) is None


def test_every_dialect_has_a_source_and_asks_for_what_it_can_set() -> None:
    for dialect in list_dialects().values():
        assert dialect.source
        assert dialect.version
        assert {*dialect.needs} <= {dialect.voice, *dialect.languages}


def test_gpt_sovits_gets_its_own_fields_and_what_only_it_knows_goes_along() -> None:
    request = translate(find("/tts"), speed=1.5, voice="ada.wav", language="de", prompt_text="Hallo", text_lang="ja")

    assert request == SpeechRequest(
        path="/tts",
        body={
            "text": "The fox sleeps.",
            "ref_audio_path": "ada.wav",
            "media_type": "wav",
            "speed_factor": 1.5,
            "text_lang": "ja",
            "prompt_lang": "de",
            "prompt_text": "Hallo",
        },
        format="wav",
    )


def test_voice_and_language_of_the_cluster_file_are_used_where_a_request_has_none() -> None:
    request = translate(find("/tts_to_audio/"), speed=1, response_format="wav")

    assert request.body == {"text": "The fox sleeps.", "speaker_wav": "narrator.wav", "language": "en"}


@pytest.mark.parametrize(
    ("path", "asked", "reason"),
    [
        ("/tts", {"response_format": "mp3"}, "does not write 'mp3'"),
        ("/tts_to_audio/", {"speed": 2}, "has no speed"),
        ("/tts_to_audio/", {"seed": 7}, "has no seed"),
    ],
)
def test_what_a_server_cannot_do_is_refused_by_its_name(path: str, asked: dict[str, Any], reason: str) -> None:
    with pytest.raises(RequestRefusedError, match=reason):
        translate(find(path), **asked)


def test_fields_that_a_server_needs_are_all_named_at_once() -> None:
    with pytest.raises(RequestRefusedError, match="needs 'text_lang', 'prompt_lang', 'ref_audio_path'"):
        find("/tts").translate({"input": "The fox sleeps."}, voice=None, language=None)
