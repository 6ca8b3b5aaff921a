"""OpenAI's own client, unchanged, in 40 calls at the audio routes over real engines: Kokoro, Piper and Whisper.

Whisper hears English with its smallest model, and Spanish with the base one, which translates it.
"""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import av
import openai
import pytest
import pytest_asyncio

from corral.engines.building import Device, build
from corral.slots.guests import GuestLateError
from corral.work import Engine, SlotId
from doubles.local_engines import KOKORO, PIPER, WHISPER, WHISPER_BASE, real_models
from doubles.speech_door import KEY, OpenDoor, open_speech_door
from doubles.words import word_error_rate

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),  # translations, says the client of OpenAI
]

LINE = "The ships in the harbor are waiting for the tide."
LINES = f"{LINE} Tomorrow morning they will sail to the open sea."
SPANISH = "Buenos días. ¿Cómo está usted? Yo estoy muy bien, gracias."
ENDINGS = {"mp3": "mp3", "opus": "ogg", "aac": "aac", "flac": "flac", "wav": "wav"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenDoor]:
    folder, store = tmp_path_factory.mktemp("speech"), await asyncio.to_thread(real_models, WHISPER_BASE)
    async with AsyncExitStack() as stack:
        engines: dict[SlotId, Engine] = {}
        for name in ("kokoro", "piper", "whisper"):
            engine = build(
                name, device=Device(name="cpu0"), threads=1, options={}, locate=store.path, log_dir=folder / "logs"
            )
            stack.push_async_callback(engine.close)
            engines[SlotId(f"here/cpu0/{name}")] = engine
        names = (KOKORO, PIPER, WHISPER, WHISPER_BASE)
        yield await stack.enter_async_context(open_speech_door(engines, store, names, folder / "guests"))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(door: OpenDoor) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{door.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def measure(content: bytes) -> float:
    """Decode sound to its end and return its seconds."""
    container: Any  # of sound that is read
    with av.open(io.BytesIO(content)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


async def speak_spanish(path: Path) -> bytes:
    """Let espeak-ng say a few words, which no engine here has a voice for."""
    program = await asyncio.create_subprocess_exec("espeak-ng", "-v", "es", "-s", "120", "-w", path, SPANISH)
    assert await program.wait() == 0
    return path.read_bytes()


async def test_forty_calls_of_the_official_client(client: openai.AsyncOpenAI, door: OpenDoor, tmp_path: Path) -> None:
    assert {model.id async for model in client.models.list()} == {KOKORO, PIPER, WHISPER, WHISPER_BASE}  # 1
    spoken = await speak(client, door)
    await speak_while_it_is_made(client, door)
    await write_down(client, spoken)
    await translate(client, await speak_spanish(tmp_path / "spanish.wav"), spoken)
    await be_refused(client)
    await leave_and_speak_at_once(client, door)
    assert door.desk.open == 0


async def speak(client: openai.AsyncOpenAI, door: OpenDoor) -> bytes:
    """Speech in every format, at every speed; returns two sentences as MP3."""
    create: Any = client.audio.speech.create  # takes words of which its types have a list
    lengths: dict[str, float] = {}
    for form, ending in ENDINGS.items():
        answer = await create(model=PIPER, voice="alloy", input=LINE, response_format=form)  # 2-6
        lengths[form] = measure(answer.content)
        with av.open(io.BytesIO(answer.content)) as container:
            assert ending in container.format.name
    assert all(2 < seconds < 6 for seconds in lengths.values())
    bare = await create(model=PIPER, voice="alloy", input=LINE, response_format="pcm")  # 7
    assert bare.response.headers["content-type"] == "audio/pcm"
    assert len(bare.content) / 2 / 24_000 == pytest.approx(lengths["wav"], rel=0.25)  # whatever rate the engine makes
    fast, slow = [
        await create(model=PIPER, voice="alloy", input=LINE, response_format="wav", speed=speed)
        for speed in (2, 0.5)  # 8-9
    ]
    assert measure(fast.content) < 0.75 * lengths["wav"] < 0.75 * measure(slow.content)
    usual = await create(model="tts-1", voice="nova", input=LINE)  # 10: Kokoro, by the names that clients send
    assert door.desk.turns[-1].slot == SlotId("here/cpu0/kokoro")
    heard = await client.audio.transcriptions.create(model=WHISPER, file=("line.mp3", usual.content))  # 11
    assert word_error_rate(LINE, heard.text) < 0.2
    spoken = await client.audio.speech.create(model=PIPER, voice="alloy", input=LINES)  # 12: MP3 where nothing is asked
    return spoken.content


async def speak_while_it_is_made(client: openai.AsyncOpenAI, door: OpenDoor) -> None:
    """The first sentence is sent while the second is spoken."""
    request = client.audio.speech.with_streaming_response.create(
        model=KOKORO, voice="jm_kumo", input=LINES, response_format="pcm"
    )
    received = 0
    open_at_first = None
    async with request as answer:  # 13
        async for chunk in answer.iter_bytes():
            open_at_first = door.desk.open if open_at_first is None else open_at_first
            received += len(chunk)
    assert open_at_first == 1, "sound comes while the engine is at work"
    assert received / 2 / 24_000 > 4


async def write_down(client: openai.AsyncOpenAI, speech: bytes) -> None:
    """Transcriptions in every form, and as they are heard."""

    hear: Any = partial(
        client.audio.transcriptions.create, model=WHISPER, file=("a.mp3", speech), language="en"
    )  # its answers are of as many kinds as there are forms
    short = await hear()  # 14
    text, srt, vtt = [await hear(response_format=form) for form in ("text", "srt", "vtt")]  # 15-17
    verbose = await hear(response_format="verbose_json", timestamp_granularities=["word", "segment"])  # 18
    hinted = await hear(prompt="Ships and tides.", temperature=0)  # 19

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
    assert word_error_rate(LINES, hinted.text) < 0.2

    events = [event async for event in await hear(stream=True)]  # 20
    assert {event.type for event in events[:-1]} == {"transcript.text.delta"}
    assert events[-1].type == "transcript.text.done"
    assert "".join(event.delta for event in events[:-1]) == events[-1].text
    assert word_error_rate(LINES, events[-1].text) < 0.2


async def translate(client: openai.AsyncOpenAI, spanish: bytes, english: bytes) -> None:
    """What was said in Spanish is written in English, by a model that hears all languages."""
    create: Any = client.audio.translations.create  # pyright: ignore[reportDeprecated] (by OpenAI)
    with pytest.raises(openai.BadRequestError, match="for English alone and does not translate"):
        await create(model=WHISPER, file=("a.mp3", english))  # 21
    short = await create(model=WHISPER_BASE, file=("a.wav", spanish))  # 22
    whole = await create(model=WHISPER_BASE, file=("a.wav", spanish), response_format="verbose_json")  # 23
    subtitles = await create(model="whisper-1", file=("a.wav", spanish), response_format="srt")  # 24: the largest
    as_said = await client.audio.transcriptions.create(model=WHISPER_BASE, file=("a.wav", spanish))  # 25

    words = set(short.text.lower().translate(str.maketrans(".,?!", "    ")).split())
    assert {"good", "how", "are", "you"} <= words  # its word for "días" differs by processor
    assert (whole.text, whole.language) == (short.text, "es")
    assert whole.duration == pytest.approx(measure(spanish), abs=0.5)
    assert subtitles.startswith("1\n00:00:00,")
    assert "gracias" in as_said.text.lower()


async def be_refused(client: openai.AsyncOpenAI) -> None:
    """All problems at once, in OpenAI's shape; unknown names with those that are near."""
    speak: Any = client.audio.speech.create
    hear: Any = client.audio.transcriptions.create
    with pytest.raises(openai.BadRequestError) as raised:
        await speak(model=PIPER, voice="alloy", input=" ", speed=9, response_format="mp4")  # 26
    assert raised.value.type == "invalid_request_error"
    assert all(name in raised.value.message for name in ("input", "speed", "response_format"))
    unknown: list[tuple[dict[str, str], str, type[openai.APIStatusError]]] = [
        ({"model": "piper-en-us-jo"}, PIPER, openai.NotFoundError),
        ({"model": WHISPER}, "does not do this", openai.NotFoundError),
        ({"model": KOKORO, "voice": "jf_alhpa"}, "did you mean `jf_alpha`", openai.BadRequestError),
        ({"model": PIPER, "voice": "captain"}, "the model has one alone", openai.BadRequestError),
    ]
    for asked, words, error in unknown:  # 27-30
        with pytest.raises(error) as refused:
            await speak(**{"voice": "alloy", **asked}, input=LINE)
        assert words in refused.value.message
    with pytest.raises(openai.BadRequestError, match="holds no audio"):
        await hear(model=WHISPER, file=("page.html", b"<html></html>"))  # 31
    with pytest.raises(openai.NotFoundError, match="does not do this"):
        await hear(model=PIPER, file=("page.html", b"<html></html>"))  # 32
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("tts-9")  # 33


async def leave_and_speak_at_once(client: openai.AsyncOpenAI, door: OpenDoor) -> None:
    """A client that leaves ends its work; the next ones wait for nothing."""
    request = client.audio.speech.with_streaming_response.create(
        model=PIPER, voice="alloy", input=f"{LINES} " * 200, response_format="mp3"
    )
    async with request as answer:  # 34
        async for _ in answer.iter_bytes():
            break
    async with asyncio.timeout(60):
        await door.desk.idle.wait()
    answers = await asyncio.gather(
        *(
            client.audio.speech.create(model=PIPER, voice="alloy", input=f"Number {number}.", response_format="wav")
            for number in range(6)  # 35-40
        )
    )
    assert all(0.3 < measure(answer.content) < 4 for answer in answers)


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
    abilities = {model["id"]: (model["speaks"], model["hears"]) for model in models["models"]}
    speaks, hears = (True, False), (False, True)
    assert abilities == {KOKORO: speaks, PIPER: speaks, WHISPER: hears, WHISPER_BASE: hears}


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
