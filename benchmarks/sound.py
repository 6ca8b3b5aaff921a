"""How soon a spoken question is answered in sound: `converse` and its three steps, asked one after another.

A whole server with Whisper tiny, SmolLM2 135M and Piper on the processor. Both ways get the same recording and the same
options; the steps are requests to OpenAI's routes by one client: a transcription, a chat, and the whole answer spoken.
Rounds are interleaved, after one of each that loads the models; the smallest times are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.programs import START_S, find_port, run_corral
from benchmarks.table import machine, show
from corral.data_dir import models_dir
from corral.weights.store import Store

WRITES, HEARS, SPEAKS = "smollm2-135m-instruct", "whisper-tiny.en", "piper-en-us-joe"
QUESTION = "Tell me about the sea in a few sentences."
_OPTIONS = {"max_tokens": 80, "temperature": 0}
_CLUSTER = """
apiVersion: corral/v1
name: benchmark
nodes: [{{name: here, gpus: [], cpu: {{slots: {slots}}}}}]
"""


@dataclass(slots=True)
class Times:
    """Seconds from the end of the recording, the least of all rounds."""

    heard_s: float = float("inf")
    first_text_s: float = float("inf")
    first_sound_s: float = float("inf")
    whole_s: float = float("inf")

    def take(self, **times: float) -> None:
        """Take a round."""
        for name, seconds in times.items():
            setattr(self, name, min(getattr(self, name), seconds))


async def speak(session: aiohttp.ClientSession, text: str) -> tuple[bytes, float]:
    """Return a text's sound, and when its first bytes came."""
    body = {"model": SPEAKS, "input": text, "response_format": "wav"}
    async with session.post("/v1/audio/speech", json=body) as answer:
        answer.raise_for_status()
        first = await answer.content.readany()
        came_at = time.perf_counter()
        return first + await answer.content.read(), came_at


async def converse(session: aiohttp.ClientSession, recording: bytes) -> dict[str, float]:
    """Ask in one conversation."""
    start = {"type": "start", "chat": WRITES, "hear": HEARS, "speak": SPEAKS, "format": "wav", "options": _OPTIONS}
    async with session.ws_connect("/corral/v1/converse") as talk:
        await talk.send_json(start)
        await talk.receive_json()
        await talk.send_bytes(recording)
        await talk.send_json({"type": "end"})
        times, begun = dict[str, float](), time.perf_counter()
        while "whole_s" not in times:
            message = await talk.receive()
            came_s = time.perf_counter() - begun
            if message.type is aiohttp.WSMsgType.BINARY:
                times.setdefault("first_sound_s", came_s)
                continue
            said = json.loads(message.data)
            kinds = {"transcript": "heard_s", "text": "first_text_s", "done": "whole_s"}
            if said["type"] == "error":
                raise RuntimeError(said["message"])
            if said["type"] in kinds:
                times.setdefault(kinds[said["type"]], came_s)
        return times


async def ask_in_steps(session: aiohttp.ClientSession, recording: bytes) -> dict[str, float]:
    """Ask with three requests, one after another."""
    begun = time.perf_counter()
    form = aiohttp.FormData({"model": HEARS})
    form.add_field("file", recording, filename="question.wav")
    async with session.post("/v1/audio/transcriptions", data=form) as answer:
        answer.raise_for_status()
        words = (await answer.json())["text"]
    heard_s = time.perf_counter() - begun
    body = {"model": WRITES, "messages": [{"role": "user", "content": words}], **_OPTIONS}
    async with session.post("/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        said: Any = await answer.json()
    text_s = time.perf_counter() - begun
    _, sound_at = await speak(session, said["choices"][0]["message"]["content"])
    whole_s = time.perf_counter() - begun
    return {"heard_s": heard_s, "first_text_s": text_s, "first_sound_s": sound_at - begun, "whole_s": whole_s}


async def _measure(url: str, rounds: int) -> tuple[Times, Times]:
    in_one, in_steps = Times(), Times()
    async with aiohttp.ClientSession(url) as session:
        recording = await _until_speaking(session)
        for _ in range(2):
            await converse(session, recording)
            await ask_in_steps(session, recording)
        for _ in range(rounds):
            in_one.take(**await converse(session, recording))
            in_steps.take(**await ask_in_steps(session, recording))
    return in_one, in_steps


async def _until_speaking(session: aiohttp.ClientSession) -> bytes:
    """Return the question, spoken, once the server leads. Raises: TimeoutError."""
    async with asyncio.timeout(START_S):
        while True:
            with suppress(aiohttp.ClientError):
                return (await speak(session, QUESTION))[0]
            await asyncio.sleep(0.5)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sound", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slots", type=int, default=2, help="with one, sound waits until all of the answer is written")
    parser.add_argument("--models", type=Path, default=Path(".cache/models"), help="where models are kept")
    asked = parser.parse_args()
    store = Store(asked.models.absolute())
    for name in (WRITES, HEARS, SPEAKS):
        asyncio.run(store.pull(name))
    with tempfile.TemporaryDirectory(prefix="corral-bench-", dir="/tmp") as name, ExitStack() as running:
        folder, port = Path(name), find_port()
        folder.chmod(0o711)  # root starts PostgreSQL as another user
        models = models_dir(folder / "data")
        models.parent.mkdir()
        models.symlink_to(asked.models.absolute())
        running.enter_context(run_corral(_CLUSTER.format(slots=asked.slots), port, folder))
        in_one, in_steps = asyncio.run(_measure(f"http://127.0.0.1:{port}", asked.rounds))
    head = ("seconds from the end of the recording", "converse", "three requests", "share")
    rows = [
        (words, f"{talk:.2f}", f"{steps:.2f}", f"{talk / steps:.0%}")
        for words, talk, steps in (
            ("what was said is heard", in_one.heard_s, in_steps.heard_s),
            ("first words of the answer (the whole answer)", in_one.first_text_s, in_steps.first_text_s),
            ("first sound", in_one.first_sound_s, in_steps.first_sound_s),
            ("all of it", in_one.whole_s, in_steps.whole_s),
        )
    ]
    show("A spoken question", head, rows, [f"{asked.slots} slots, {asked.rounds} rounds; {machine()}"])


if __name__ == "__main__":
    main()
