"""OpenAI's own client at the audio routes, over real engines: Kokoro and Piper speak, Whisper hears."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import av
import openai
import pytest
import pytest_asyncio

from corral.engines.building import Device, build
from corral.slots.guests import GuestLateError
from corral.work import SlotId
from doubles.local_engines import KOKORO, PIPER, WHISPER, real_models
from doubles.speech_door import KEY, OpenDoor, open_speech_door
from doubles.words import word_error_rate

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINE = "The ships in the harbor are waiting for the tide."
LINES = f"{LINE} Tomorrow morning they will sail to the open sea."
ENDINGS = {"mp3": "mp3", "opus": "ogg", "aac": "aac", "flac": "flac", "wav": "wav"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenDoor]:
    folder, store = tmp_path_factory.mktemp("speech"), await asyncio.to_thread(real_models)
    async with AsyncExitStack() as stack:
        engines = {}
        for name in ("kokoro", "piper", "whisper"):
            engine = build(
                name, device=Device(name="cpu0"), threads=1, options={}, locate=store.path, log_dir=folder / "logs"
            )
            stack.push_async_callback(engine.close)
            engines[SlotId(f"here/cpu0/{name}")] = engine
        names = (KOKORO, PIPER, WHISPER)
        yield await stack.enter_async_context(open_speech_door(engines, store, names, folder / "guests"))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(door: OpenDoor) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{door.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def speech(client: openai.AsyncOpenAI) -> bytes:
    """Two sentences, spoken by Piper."""
    answer = await client.audio.speech.create(model=PIPER, voice="alloy", input=LINES, response_format="mp3")
    return answer.content


def measure(content: bytes) -> float:
    """Decode sound to its end and return its seconds."""
    with av.open(io.BytesIO(content)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "wav"])
async def test_speech_comes_in_every_format(client: openai.AsyncOpenAI, format: str) -> None:
    answer = await client.audio.speech.create(model=PIPER, voice="alloy", input=LINE, response_format=format)

    assert 2 < measure(answer.content) < 6
    with av.open(io.BytesIO(answer.content)) as container:
        assert ENDINGS[format] in container.format.name


async def test_pcm_has_24_000_samples_per_second_whatever_the_engine_makes(client: openai.AsyncOpenAI) -> None:
    answer = await client.audio.speech.create(model=PIPER, voice="alloy", input=LINE, response_format="pcm")
    usual = await client.audio.speech.create(model=PIPER, voice="alloy", input=LINE, response_format="wav")

    assert answer.response.headers["content-type"] == "audio/pcm"
    assert len(answer.content) / 2 / 24_000 == pytest.approx(measure(usual.content), rel=0.25)


async def test_first_sentence_is_sent_while_the_second_is_spoken(client: openai.AsyncOpenAI, door: OpenDoor) -> None:
    request = client.audio.speech.with_streaming_response.create(
        model=KOKORO, voice="jm_kumo", input=LINES, response_format="pcm"
    )
    received = 0
    open_at_first = None
    async with request as answer:
        async for chunk in answer.iter_bytes():
            open_at_first = door.desk.open if open_at_first is None else open_at_first
            received += len(chunk)

    assert open_at_first == 1, "sound comes while the engine is at work"
    assert received / 2 / 24_000 > 4


async def test_what_kokoro_says_whisper_writes_down(client: openai.AsyncOpenAI) -> None:
    spoken = await client.audio.speech.create(model="tts-1", voice="nova", input=LINE)

    heard = await client.audio.transcriptions.create(model="whisper-1", file=("line.mp3", spoken.content))

    assert word_error_rate(LINE, heard.text) < 0.2


async def test_speech_as_events_is_the_same_sound(door: OpenDoor) -> None:
    body = {"model": PIPER, "input": LINE, "response_format": "wav", "stream_format": "sse"}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
        session.post(f"{door.url}/v1/audio/speech", json=body) as answer,
    ):
        assert answer.content_type == "text/event-stream"
        events = [json.loads(line[6:]) async for line in answer.content if line.startswith(b"data: ")]

    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done"


async def test_speed_is_the_clients_for_engines_that_count_the_other_way(client: openai.AsyncOpenAI) -> None:
    async def measure_at(speed: float) -> float:
        request = {"model": PIPER, "voice": "alloy", "input": LINE, "response_format": "wav"}
        return measure((await client.audio.speech.create(**request, speed=speed)).content)

    assert await measure_at(2) < 0.75 * await measure_at(1)


async def test_transcription_in_every_form(client: openai.AsyncOpenAI, speech: bytes) -> None:
    async def hear(**asked: object) -> object:
        return await client.audio.transcriptions.create(model=WHISPER, file=("a.mp3", speech), language="en", **asked)

    short = await hear()
    text, srt, vtt = [await hear(response_format=form) for form in ("text", "srt", "vtt")]
    verbose = await hear(response_format="verbose_json", timestamp_granularities=["word", "segment"])

    assert word_error_rate(LINES, short.text) < 0.2
    assert short.usage.type == "duration"
    assert text.strip() == short.text
    assert srt.startswith("1\n00:00:00,")
    assert vtt.startswith("WEBVTT\n")
    assert (verbose.text, verbose.language) == (short.text, "en")
    assert verbose.duration == pytest.approx(measure(speech), abs=0.5)
    assert verbose.segments[-1].end <= verbose.duration + 1
    assert verbose.segments[0].tokens
    assert verbose.segments[0].avg_logprob < 0
    assert [word.word for word in verbose.words][:3] == short.text.split()[:3]


async def test_transcription_is_streamed_as_it_is_heard(client: openai.AsyncOpenAI, speech: bytes) -> None:
    stream = await client.audio.transcriptions.create(model=WHISPER, file=("a.mp3", speech), language="en", stream=True)
    events = [event async for event in stream]

    assert {event.type for event in events[:-1]} == {"transcript.text.delta"}
    assert events[-1].type == "transcript.text.done"
    assert "".join(event.delta for event in events[:-1]) == events[-1].text
    assert word_error_rate(LINES, events[-1].text) < 0.2


async def test_translation_with_a_model_for_english_alone_is_refused(client: openai.AsyncOpenAI, speech: bytes) -> None:
    with pytest.raises(openai.BadRequestError, match="for English alone and does not translate"):
        await client.audio.translations.create(model=WHISPER, file=("a.mp3", speech))


async def test_everything_that_is_wrong_is_reported_at_once_in_openais_shape(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await client.audio.speech.create(model=PIPER, voice="alloy", input=" ", speed=9, response_format="mp4")

    assert raised.value.type == "invalid_request_error"
    assert all(name in raised.value.message for name in ("input", "speed", "response_format"))


@pytest.mark.parametrize(
    ("asked", "words", "error"),
    [
        ({"model": "piper-en-us-jo"}, PIPER, openai.NotFoundError),
        ({"model": WHISPER}, "does not do this", openai.NotFoundError),
        ({"model": KOKORO, "voice": "jf_alhpa"}, "did you mean `jf_alpha`", openai.BadRequestError),
        ({"model": PIPER, "voice": "captain"}, "the model has one alone", openai.BadRequestError),
    ],
)
async def test_unknown_names_are_answered_with_near_ones(
    client: openai.AsyncOpenAI, asked: dict[str, str], words: str, error: type[openai.APIStatusError]
) -> None:
    with pytest.raises(error) as raised:
        await client.audio.speech.create(**{"voice": "alloy", **asked}, input=LINE)
    assert words in raised.value.message


async def test_file_without_audio_is_the_clients_fault(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="holds no audio"):
        await client.audio.transcriptions.create(model=WHISPER, file=("page.html", b"<html></html>"))


async def test_client_that_leaves_ends_the_work(client: openai.AsyncOpenAI, door: OpenDoor) -> None:
    request = client.audio.speech.with_streaming_response.create(
        model=PIPER, voice="alloy", input=f"{LINES} " * 200, response_format="mp3"
    )
    async with request as answer:
        async for _ in answer.iter_bytes():
            break

    async with asyncio.timeout(30):
        await door.desk.idle.wait()


async def test_guest_that_would_wait_too_long_learns_when_to_come_again(
    client: openai.AsyncOpenAI, door: OpenDoor
) -> None:
    door.desk.error = GuestLateError("the slots of piper are busy for 4 min", retry_after_s=240)
    try:
        with pytest.raises(openai.InternalServerError) as raised:
            await client.audio.speech.create(model=PIPER, voice="alloy", input=LINE)
    finally:
        door.desk.error = None
    assert raised.value.response.headers["retry-after"] == "240"


async def test_key_that_only_looks_has_nothing_spoken(client: openai.AsyncOpenAI, door: OpenDoor) -> None:
    visitor, door.doorman.visitor = door.doorman.visitor, type(door.doorman.visitor)(owner="ann", can_submit=False)
    try:
        with pytest.raises(openai.PermissionDeniedError, match="can look"):
            await client.audio.speech.create(model=PIPER, voice="alloy", input=LINE)
    finally:
        door.doorman.visitor = visitor


async def test_lists_of_voices_and_models_need_a_key_unless_the_cluster_file_opens_them(door: OpenDoor) -> None:
    """Open WebUI asks for both without a key, and shows ten voices of its own where it gets none."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{door.url}/v1/audio/voices") as answer:
            assert answer.status == 401
        door.lists_are_public = True
        async with session.get(f"{door.url}/v1/audio/voices") as answer:
            voices = await answer.json()
        async with session.get(f"{door.url}/v1/audio/models") as answer:
            models = await answer.json()
        door.lists_are_public = False

    assert {"id": "jf_alpha", "name": "jf_alpha", "object": "audio.voice"} in voices["voices"]
    assert {model["id"] for model in models["models"]} == {KOKORO, PIPER, WHISPER}


async def test_formats_that_need_no_encoder_work_without_one(client: openai.AsyncOpenAI, door: OpenDoor) -> None:
    python, door.python = door.python, None
    try:
        wav = await client.audio.speech.create(model=PIPER, voice="alloy", input=LINE, response_format="wav")
        with pytest.raises(openai.InternalServerError, match="corral engines install whisper"):
            await client.audio.speech.create(model=PIPER, voice="alloy", input=LINE)
    finally:
        door.python = python
    with wave.open(io.BytesIO(wav.content)) as sound:
        assert sound.getframerate() == 22_050
