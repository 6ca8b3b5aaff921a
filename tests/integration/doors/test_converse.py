"""A spoken question and a spoken answer in one websocket: Whisper hears, a small llama writes, Kokoro speaks."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import av
import pytest
import pytest_asyncio

from corral.engines.building import Device, build
from corral.work import SlotId
from doubles.local_engines import KOKORO, LLAMA, PIPER, WHISPER, real_models
from doubles.speech_door import KEY, OpenDoor, open_speech_door
from doubles.words import word_error_rate

pytestmark = pytest.mark.asyncio(loop_scope="module")

START = {
    "type": "start",
    "key": KEY,
    "chat": LLAMA,
    "hear": WHISPER,
    "speak": PIPER,
    "format": "wav",
    "options": {"max_tokens": 40, "seed": 1, "temperature": 0},
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenDoor]:
    folder, store = tmp_path_factory.mktemp("converse"), await asyncio.to_thread(real_models)
    async with AsyncExitStack() as stack:
        engines = {}
        for name in ("kokoro", "llama", "piper", "whisper"):
            engine = build(
                name, device=Device(name="cpu0"), threads=1, options={}, locate=store.path, log_dir=folder / "logs"
            )
            stack.push_async_callback(engine.close)
            engines[SlotId(f"here/cpu0/{name}")] = engine
        names = (KOKORO, LLAMA, PIPER, WHISPER)
        yield await stack.enter_async_context(open_speech_door(engines, store, names, folder / "guests"))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def question(door: OpenDoor) -> bytes:
    body = {"model": KOKORO, "input": "What is the capital of France?", "response_format": "mp3"}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
        session.post(f"{door.url}/v1/audio/speech", json=body) as answer,
    ):
        return await answer.read()


class Talk:
    """A client's side of a conversation."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.messages: list[dict[str, object]] = []
        self.sounds: list[bytes] = []

    async def until(self, kind: str) -> dict[str, object]:
        """Read up to a message of this type; the sound of each sentence is kept apart."""
        while True:
            message = await self.socket.receive(timeout=60)
            if message.type is aiohttp.WSMsgType.BINARY:
                self.sounds[-1] += message.data
                continue
            assert message.type is aiohttp.WSMsgType.TEXT, message
            said = json.loads(message.data)
            self.messages.append(said)
            if said["type"] == "sound":
                self.sounds.append(b"")
            if said["type"] == kind:
                return said
            assert said["type"] != "error", said


@pytest_asyncio.fixture(loop_scope="module")
async def talk(door: OpenDoor) -> AsyncIterator[Talk]:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{door.url}/corral/v1/converse") as socket:
        yield Talk(socket)


async def test_what_is_asked_is_heard_answered_and_spoken_sentence_by_sentence(talk: Talk, question: bytes) -> None:
    await talk.socket.send_json(START)
    await talk.until("ready")
    for at in range(0, len(question), 4096):
        await talk.socket.send_bytes(question[at : at + 4096])
    await talk.socket.send_json({"type": "end"})
    done = await talk.until("done")

    by_type = {message["type"]: message for message in talk.messages}
    assert word_error_rate("What is the capital of France?", by_type["transcript"]["text"]) < 0.2
    assert done["text"]
    deltas = [message["delta"] for message in talk.messages if message["type"] == "text"]
    sentences = [message["text"] for message in talk.messages if message["type"] == "sound"]
    assert "".join(deltas) == done["text"]
    assert " ".join(" ".join(sentences).split()) == " ".join(done["text"].split())
    assert len(talk.sounds) == len(sentences)
    for sound in talk.sounds:
        with av.open(io.BytesIO(sound)) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) > 0
    timings = done["timings"]
    assert 0 < timings["heard_s"] < timings["first_text_s"] < timings["first_sound_s"] <= timings["whole_s"]


async def test_conversation_goes_on_with_what_was_said(talk: Talk, door: OpenDoor) -> None:
    await talk.socket.send_json({**START, "messages": [{"role": "system", "content": "You are a sailor."}]})
    await talk.until("ready")
    await talk.socket.send_json({"type": "text", "text": "My name is Hay."})
    first = await talk.until("done")
    await talk.socket.send_json({"type": "text", "text": "Say one word."})
    await talk.until("done")

    assert first["timings"]["heard_s"] == pytest.approx(0, abs=0.5)
    prefix = door.desk.asks[-1].prefix or next(ask.prefix for ask in reversed(door.desk.asks) if ask.prefix)
    assert "sailor" in prefix
    assert "My name is Hay." in prefix
    assert "Say one word." in prefix


async def test_answer_is_broken_off_when_the_client_says_stop(talk: Talk, door: OpenDoor) -> None:
    await talk.socket.send_json({**START, "options": {"max_tokens": 2000, "temperature": 0}})
    await talk.until("ready")
    await talk.socket.send_json({"type": "text", "text": "Count to a thousand."})
    await talk.until("text")
    await talk.socket.send_json({"type": "stop"})
    await talk.until("stopped")

    async with asyncio.timeout(30):
        await door.desk.idle.wait()


async def test_silence_is_answered_with_nothing(talk: Talk, tmp_path: object) -> None:
    await talk.socket.send_json(START)
    await talk.until("ready")
    await talk.socket.send_json({"type": "text", "text": "..."})

    assert (await talk.until("done"))["text"] == ""


@pytest.mark.parametrize(
    ("start", "words", "code"),
    [
        ({**START, "key": "wrong"}, "no token was given", 4401),
        ({"type": "start", "format": "mp4"}, "chat: field required", 4401),
    ],
)
async def test_client_that_is_not_known_or_asks_wrongly_is_told_and_closed(
    talk: Talk, start: dict[str, object], words: str, code: int
) -> None:
    await talk.socket.send_json(start)

    assert words in json.loads((await talk.socket.receive()).data)["message"]
    closed = await talk.socket.receive()
    assert (closed.type, talk.socket.close_code) == (aiohttp.WSMsgType.CLOSE, code)


async def test_step_that_fails_is_named_and_the_conversation_stays_open(talk: Talk) -> None:
    await talk.socket.send_json({**START, "speak": "no-such-voice"})
    await talk.until("ready")
    await talk.socket.send_bytes(b"not sound")
    await talk.socket.send_json({"type": "end"})
    with pytest.raises(AssertionError, match="holds no audio"):
        await talk.until("done")
    await talk.socket.send_json({"type": "text", "text": "Hello."})
    with pytest.raises(AssertionError, match="no-such-voice"):
        await talk.until("done")
