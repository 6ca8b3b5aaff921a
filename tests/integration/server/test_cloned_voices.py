"""Voices from recordings at the door of speech: OpenAI's client, a real API and its stores; the engine is scripted."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import openai
import pytest

from corral.engines.in_process import InProcessEngine
from corral.server.services import Services
from corral.tasks.store.tokens import create_token
from corral.weights.store import Store
from corral.work import LINE_CHECK, EngineError, Produced, Reporter, SlotId, Work
from doubles.chatterbox_library import write_library, write_weights
from doubles.guest_desk import OpenDesk
from doubles.serving import serving
from doubles.slots_shown import a_place_view
from doubles.sounds import a_hum

CONSENT = "I am Captain Hay, and I agree that my voice is cloned on this machine."
LINES = ({"text": "Good evening.", "wrong_words": 0.0, "similarity": 0.91}, {"text": "Yes.", "similarity": None})


def a_recording(seconds: float) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(16_000)
        audio.writeframes((a_hum(seconds) * 32_767).astype(np.int16).tobytes())
    return buffer.getvalue()


@dataclass
class Cloning(InProcessEngine):
    """Stands for `chatterbox`, whose worker shows a check before each line (`test_cloned_speech`)."""

    fails: bool = False
    asked: list[tuple[Mapping[str, object], dict[str, bytes]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__("chatterbox")

    async def run(self, work: Work, report: Reporter) -> Produced:
        self.asked.append((work.inputs, {name: path.read_bytes() for name, path in work.files.items()}))
        if self.fails:
            raise EngineError("line 1 of 1 failed its check 3 times: its voice is like the sample's to 0.41")
        for line in LINES:
            report.preview(LINE_CHECK, json.dumps(line).encode())
            report.preview("audio/wav", a_recording(0.1))
        return Produced()


@dataclass(frozen=True)
class Door:
    client: openai.AsyncOpenAI
    engine: Cloning
    model: str


@pytest.fixture
async def door(services: Services, tmp_path: Path) -> AsyncIterator[Door]:
    store = Store(tmp_path / "models")
    model = str(write_weights(tmp_path / "weights"))
    await store.pull(model)
    engine = Cloning()
    desk = OpenDesk({SlotId("node/cpu0/chatterbox"): engine})
    services.board.show_slots(lambda: (a_place_view("chatterbox", "kokoro", device="node/cpu0"),))
    _, secret = await create_token(services.pool, name="ann", role="submitter")
    async with serving(replace(services, weights=store, guests=desk)) as api:
        yield Door(openai.AsyncOpenAI(base_url=f"{api.url}/v1", api_key=secret, max_retries=0), engine, model)


async def test_recording_becomes_a_voice_whose_lines_carry_their_checks(door: Door, tmp_path: Path) -> None:
    write_library(tmp_path)
    audio, sample = door.client.audio, a_recording(3.5)
    voice = await audio.voices.create(name="captain", audio_sample=("captain.wav", sample), consent=CONSENT)

    said = await audio.speech.create(
        model=door.model, voice="captain", input="Good evening. Yes.", response_format="pcm"
    )
    events = await audio.speech.create(
        model=door.model, voice=voice.id, input="Good evening. Yes.", response_format="pcm", stream_format="sse"
    )

    assert door.engine.asked == 2 * [({"text": "Good evening. Yes."}, {"captain.wav": sample})]
    assert said.response.headers["corral-line-check"] == "wrong_words=0.000, similarity=0.910"
    assert len(said.content) > 2 * 0.1 * 2 * 16_000
    done = json.loads(events.text.strip().splitlines()[-1].removeprefix("data: "))
    assert (done["type"], done["checks"]) == ("speech.audio.done", list(LINES))
    with pytest.raises(openai.BadRequestError, match="chatterbox speaks at a speed of its own"):
        await audio.speech.create(model=door.model, voice="captain", input="Good evening.", speed=2)


async def test_line_that_fails_its_check_is_an_error_and_not_a_sound(door: Door, tmp_path: Path) -> None:
    write_library(tmp_path)
    door.engine.fails = True
    await door.client.audio.voices.create(name="c", audio_sample=("c.wav", a_recording(3.5)), consent=CONSENT)

    with pytest.raises(openai.APIStatusError, match=r"like the sample's to 0\.41"):
        await door.client.audio.speech.create(model=door.model, voice="c", input="Good evening.")


async def test_recording_is_refused_where_nothing_clones_and_where_it_is_too_short(door: Door, tmp_path: Path) -> None:
    with pytest.raises(
        openai.BadRequestError, match="none that clones a voice from a recording is installed"
    ) as raised:
        await door.client.audio.voices.create(name="c", audio_sample=("c.wav", a_recording(3.5)), consent=CONSENT)
    assert "corral engines install chatterbox" in str(raised.value)

    await asyncio.to_thread(write_library, tmp_path)
    with pytest.raises(openai.BadRequestError, match=r"the recording 'c\.wav' has 1\.0 s"):
        await door.client.audio.voices.create(name="c", audio_sample=("c.wav", a_recording(1.0)), consent=CONSENT)
