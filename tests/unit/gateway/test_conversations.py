"""A conversation whose steps answer what is not theirs to answer, and a client that reads slowly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from corral.gateway.speech.conversing import ConverseDoor
from corral.gateway.speech.inner import ask
from doubles.endpoints import OpenDoorman

Json = Any
START = {"type": "start", "chat": "m", "format": "wav"}


class Answers:
    """A door that answers each path with these pieces."""

    paths = ()

    def __init__(self, **answers: Sequence[bytes]) -> None:
        self._answers = answers
        self.sent = 0

    async def __call__(self, scope: Json, receive: Callable[[], Any], send: Callable[[Json], Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in self._answers[scope["path"].rpartition("/")[2]]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            self.sent += 1
        await send({"type": "http.response.body", "body": b""})

    async def close(self) -> None: ...


async def converse(chat: Answers, speech: Answers, *messages: Json) -> list[Json]:
    """Send messages, and return what is answered until it is done, or an error."""
    answered: list[Json] = []
    left = [{"type": "websocket.connect"}, *({"type": "websocket.receive", **message} for message in messages)]
    is_over = asyncio.Event()

    async def receive() -> Json:
        if left:
            return left.pop(0)
        await is_over.wait()
        return {"type": "websocket.disconnect"}

    async def send(message: Json) -> None:
        if "text" in message:
            answered.append(json.loads(message["text"]))
            if answered[-1]["type"] in ("done", "error"):
                is_over.set()

    async with asyncio.timeout(20):
        door = ConverseDoor(chat, speech, OpenDoorman())
        await door({"type": "websocket", "headers": [], "path": "/corral/v1/converse"}, receive, send)
    return answered


@pytest.mark.parametrize("event", [b"data: {broken\n\n", b'data: {"choices": [}\n\n'])
async def test_a_chat_that_is_not_json_is_an_error_to_the_client(event: bytes) -> None:
    text = {"text": json.dumps({"type": "text", "text": "Hello."})}
    answered = await converse(Answers(completions=[event]), Answers(), {"text": json.dumps(START)}, text)
    assert answered[-1]["type"] == "error"
    assert "an event of the chat is not JSON" in answered[-1]["message"]


async def test_a_transcription_that_is_not_json_is_an_error_to_the_client() -> None:
    end = {"text": json.dumps({"type": "end"})}
    speech = Answers(transcriptions=[b"<html>"])
    answered = await converse(Answers(), speech, {"text": json.dumps(START)}, {"bytes": b"sound"}, end)
    assert "the transcription is not JSON" in answered[-1]["message"]


async def test_a_door_waits_for_a_client_that_reads_slowly() -> None:
    door = Answers(speech=[b"s"] * 1000)
    async with ask(door, {"headers": []}, "/v1/audio/speech", "application/json", b"{}") as answer:
        await anext(answer.pieces)
        for _ in range(100):
            await asyncio.sleep(0)
        assert door.sent < 50
        assert sum([len(piece) async for piece in answer.pieces]) == 999
