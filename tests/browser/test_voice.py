"""A question that is spoken into the microphone, an answer that is spoken back; and news of batches that end."""

from __future__ import annotations

import asyncio
import io
import json
import math
import re
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest_asyncio
from playwright.async_api import BrowserType, Page, Request, expect

from browser.accessibility import find_violations
from browser.conftest import Visits, launch
from browser.serving import CLUSTER, Barn
from corral.gateway.speech.sound import read_wav
from doubles.local_engines import PIPER, WHISPER, real_models
from doubles.openai_server import OpenAiDouble
from doubles.words import word_error_rate

QUESTION = "What is the capital of France?"
SENTENCES = ["The capital of France is Paris.", "It lies on both banks of the river Seine."]
LISTEN = """
{
  const start = AudioBufferSourceNode.prototype.start;
  AudioBufferSourceNode.prototype.start = function () {
    const loudest = this.buffer.getChannelData(0).reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    this.addEventListener("ended", () => noteSound(this.buffer.duration, loudest));
    start.call(this);
  };
  globalThis.Notification = class extends Notification {
    constructor(title, options) {
      super(title, options);
      noteNotification(title, options.body);
    }
  };
}
"""
"""Reports each sound once it was played to its end, and each notification, to the test."""


@dataclass
class Spoken:
    """A server whose chat answers in two sentences, and the question as a recording."""

    barn: Barn
    chat: OpenAiDouble
    recording: Path
    seconds: float


@dataclass
class Witness:
    """What a page asked to be spoken, what it played to its end, and what it notified of."""

    pieces: list[str] = field(default_factory=list[str])
    sounds: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """Seconds, and the loudest sample, of 1 at most."""
    notices: asyncio.Queue[tuple[str, str]] = field(default_factory=asyncio.Queue[tuple[str, str]])

    async def watch(self, page: Page) -> None:
        """See what a page does from its next loading on."""
        page.on("request", self._note_request)
        await page.expose_function("noteSound", self._note_sound)
        await page.expose_function("noteNotification", self._note_notification)
        await page.add_init_script(LISTEN)

    def _note_request(self, request: Request) -> None:
        if request.url.endswith("/v1/audio/speech"):
            self.pieces.append(json.loads(request.post_data or "")["input"])

    def _note_sound(self, seconds: float, loudest: float) -> None:
        self.sounds.append((seconds, loudest))

    def _note_notification(self, title: str, body: str) -> None:
        self.notices.put_nowait((title, body))


@pytest_asyncio.fixture(loop_scope="session")
async def spoken(barn: Barn, tmp_path: Path) -> AsyncIterator[Spoken]:
    """The server of the run with real models that hear and speak, while a test lasts; a double writes the answer."""
    store = (await asyncio.to_thread(real_models)).path(WHISPER).parent
    links = [barn.folder / "data" / "models" / name for name in (PIPER, WHISPER)]
    links[0].parent.mkdir(parents=True, exist_ok=True)
    for link in links:
        link.symlink_to(store / link.name)
    async with OpenAiDouble(model_names={"host": {"capabilities": ["completion"]}}) as chat:
        chat.written["host"] = " ".join(SENTENCES)
        instance = f"  openai: {{instances: [{{name: host, node: here, url: '{chat.url}'}}]}}\n"
        speech = re.sub(r"(whisper|piper): \{enabled: false\}", r"\1: {enabled: true}", CLUSTER)
        await barn.change_cluster(speech + instance)
        recording = tmp_path / "question.wav"
        seconds = await write_question(barn, recording)
        yield Spoken(barn, chat, recording, seconds)
        await barn.change_cluster(CLUSTER)
    for link in links:
        link.unlink()


async def write_question(barn: Barn, path: Path) -> float:
    """Let Piper speak the question between half a second and a second of silence; return the seconds of all of it."""
    body = {"model": PIPER, "input": QUESTION, "response_format": "wav"}
    headers = {"Authorization": f"Bearer {barn.token}"}
    async with barn.session.post(f"{barn.url}/v1/audio/speech", json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        rate, samples = read_wav(await answer.read())
    samples = bytes(rate) + samples + bytes(2 * rate)
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(samples)
    path.write_bytes(file.getvalue())
    return len(samples) / 2 / rate


async def test_a_spoken_question_is_heard_answered_and_spoken_and_the_end_of_a_batch_is_told(
    spoken: Spoken, chromium_type: BrowserType
) -> None:
    barn = spoken.barn
    microphone = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={spoken.recording}%noloop")
    browser = await launch(chromium_type, *microphone)
    visits = Visits(browser)
    witness = Witness()
    page = await visits.open(barn.url, "#/chat", permissions=["microphone", "notifications"])
    await witness.watch(page)
    await page.reload()

    await page.get_by_role("combobox", name="Model").select_option("host")
    await page.get_by_role("combobox", name="Voice").select_option(label=PIPER)
    talk, step = page.get_by_role("button", name="Hold to talk"), page.locator("[data-step]")
    await talk.hover()
    await page.mouse.down()
    whole = "|".join(str(math.ceil(spoken.seconds) + late) for late in range(20))
    await expect(step).to_have_text(re.compile(rf"^Recording: ({whole}) s$"))
    await page.mouse.up()
    question = await page.locator(".asked").inner_text()
    await expect(step).to_have_attribute("data-step", "idle")
    assert word_error_rate(QUESTION, question) < 0.2
    assert spoken.chat.bodies[-1]["messages"] == [{"role": "user", "content": question}]
    await expect(page.locator(".said")).to_have_text(" ".join(SENTENCES))
    assert witness.pieces == SENTENCES
    assert len(witness.sounds) == len(SENTENCES)
    assert all(seconds > 1 and loudest > 0.05 for seconds, loudest in witness.sounds), witness.sounds
    assert await find_violations(page) == []

    await talk.press("Enter")
    await expect(step).to_have_attribute("data-step", "recording")
    await page.get_by_role("button", name="Stop talking").click()
    await expect(step).to_have_attribute("data-step", "idle")
    await expect(page.locator(".asked")).to_have_count(1)
    await tells_when_an_own_batch_ends(barn, page, witness.notices)
    await says_why_there_is_no_voice(barn, page)
    await visits.close()
    await browser.close()
    assert visits.problems == []


async def tells_when_an_own_batch_ends(barn: Barn, page: Page, notices: asyncio.Queue[tuple[str, str]]) -> None:
    """It asks once, remembers it, and is silent about batches of others."""
    await page.goto(f"{barn.url}/#/batches")
    await barn.submit(1, 0, "before")
    box = page.get_by_label("Notify me in this browser")
    await box.check()
    await page.reload()
    await expect(box).to_be_checked()
    assert await find_violations(page) == []
    await expect(page.get_by_text("Live")).to_be_visible()
    secret = await barn.make_token("ada", role="submitter")
    tasks = [{"name": "other", "engine": "sleep", "inputs": {"seconds": 0}}]
    body, headers = {"name": "others", "tasks": tasks}, {"Authorization": f"Bearer {secret}"}
    async with barn.session.post(f"{barn.url}/corral/v1/batches", json=body, headers=headers) as answer:
        assert answer.status == 201
        number = (await answer.json())["batch"]["id"]
    await barn.get(f"/corral/v1/batches/{number}/wait?timeout=30")
    own = await barn.submit(2, 0, "naps")
    async with asyncio.timeout(30):
        assert await notices.get() == (f"Batch {own} (naps) has ended", "2 succeeded")
    assert notices.empty()


async def says_why_there_is_no_voice(barn: Barn, page: Page) -> None:
    """A microphone that is not allowed, and a server where nothing hears."""
    await page.context.clear_permissions()
    await page.goto(f"{barn.url}/#/chat")
    await page.get_by_role("button", name="Hold to talk").press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("allow the microphone beside its address")
    await page.route("**/v1/audio/models", lambda route: route.fulfill(json={"models": []}))
    await page.reload()
    await expect(page.locator("[data-voice]")).to_contain_text("no model hears")
