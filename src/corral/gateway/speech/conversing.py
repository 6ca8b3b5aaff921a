"""`/corral/v1/converse`: a websocket that takes what is said, and gives back what is answered, spoken.

Audio in, transcript, chat, audio out, in one request: each sentence of the answer is spoken while the next one is
written. The three steps are requests to the other doors, so that models, voices, rights and limits are theirs.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json, to_json

from corral.errors import CorralError
from corral.gateway.asgi import Scope
from corral.gateway.doors import Door, Doorman
from corral.gateway.routes import Route, name_route
from corral.gateway.speech.encoding import MEDIA_TYPES
from corral.gateway.speech.history import History
from corral.gateway.speech.inner import InnerRequestError, ask
from corral.gateway.speech.recordings import write_form
from corral.gateway.speech.requests import SpeechFormat, check
from corral.narrowing import as_list, as_object, as_text
from corral.sentences import SentenceCutter
from corral.work import Json

LARGEST_RECORDING = 32 * 2**20
"""Bytes of what is said in one turn: half an hour as Opus, five minutes as WAV."""
START_S = 20.0
"""How long a client has to say what it wants."""
SHORT_SENTENCES = 80
"""Characters; after the first sentence, shorter ones are spoken together."""
_WORD = re.compile(r"[^\W_]")
_REFUSED, _TOO_LARGE, _UNUSABLE = 4401, 1009, 4400
"""Codes with which the socket is closed (RFC 6455; those from 4000 on are an application's own)."""


class Start(BaseModel):
    """The first message: what hears, answers and speaks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = Field(pattern="^start$")
    key: str | None = None
    chat: str = Field(min_length=1)
    hear: str = "whisper-1"
    speak: str = "tts-1"
    voice: str | None = None
    format: SpeechFormat = "mp3"
    speed: float = Field(1.0, ge=0.25, le=4)
    language: str | None = None
    messages: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])  # as chats have them
    options: dict[str, Any] = Field(default_factory=dict[str, Any])  # of the chat: `temperature`, `max_tokens`


class _GoneError(Exception):
    """The client has closed its socket."""


@dataclass(slots=True)
class Timings:
    """Seconds from the end of what was said, to each first."""

    clock: Callable[[], float] = time.monotonic
    began: float = 0.0
    marks: dict[str, float] = field(default_factory=dict[str, float])

    def begin(self) -> None:
        """Begin to count."""
        self.began, self.marks = self.clock(), {}

    def mark(self, name: str) -> None:
        """Note that something happens for the first time."""
        self.marks.setdefault(name, round(self.clock() - self.began, 3))


class ConverseDoor:
    """Serves conversations."""

    paths = ("/corral/v1/converse",)

    def __init__(self, chat: Door, speech: Door, doorman: Doorman) -> None:
        """`chat` has `/v1/chat/completions`, `speech` has `/v1/audio/`."""
        self._chat = chat
        self._speech = speech
        self._doorman = doorman

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        """Serve one websocket."""
        if scope["type"] != "websocket":
            hint = b'{"error": {"message": "this is a websocket: see docs/doors/converse.md"}}'
            await send({"type": "http.response.start", "status": 426, "headers": [(b"upgrade", b"websocket")]})
            await send({"type": "http.response.body", "body": hint})
            return
        name_route(scope, Route(self.paths[0]))
        with suppress(_GoneError):
            await _Conversation(self._chat, self._speech, self._doorman, scope, receive, send).serve()

    async def close(self) -> None:
        """Nothing: what is open belongs to its sockets."""


class _Conversation:
    """One socket."""

    def __init__(self, chat: Door, speech: Door, doorman: Doorman, scope: Scope, receive: Any, send: Any) -> None:
        self._chat, self._speech, self._doorman = chat, speech, doorman
        self._scope: Scope = dict(scope)
        self._receive, self._send = receive, send
        self._recording = bytearray()
        self._history = History()
        self._turn: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        await self._receive()  # the connection, which is only accepted here
        await self._send({"type": "websocket.accept"})
        try:
            async with asyncio.timeout(START_S):
                start = await self._start()
        except (CorralError, TimeoutError) as error:
            await self._say_error(error if isinstance(error, CorralError) else _make_late_error())
            await self._close(_REFUSED if isinstance(error, CorralError) else _UNUSABLE)
            return
        try:
            while True:
                await self._take(start, await self._read())
        finally:
            await self._stop()

    async def _start(self) -> Start:
        """Read the first message, and let the client in. Raises: CorralError."""
        message = await self._read()
        if isinstance(message, bytes):
            raise InnerRequestError("the first message is sound", hint="send `start` first")
        start = check(Start, message)
        if start.key is not None:
            others = [pair for pair in self._scope["headers"] if pair[0] != b"authorization"]
            self._scope["headers"] = [*others, (b"authorization", f"Bearer {start.key}".encode())]
        await self._doorman.admit(self._scope)
        self._history = History(start.messages)
        await self._say("ready")
        return start

    async def _take(self, start: Start, message: bytes | dict[str, Json]) -> None:
        if isinstance(message, bytes):
            self._recording += message
            if len(self._recording) > LARGEST_RECORDING:
                await self._say_error(InnerRequestError(f"the recording has more than {LARGEST_RECORDING} bytes"))
                await self._close(_TOO_LARGE)
                raise _GoneError
            return
        match message.get("type"):
            case "end":
                recording = bytes(self._recording)
                self._recording.clear()
                await self._begin_turn(start, recording, None)
            case "text":
                await self._begin_turn(start, b"", as_text(message.get("text")))
            case "stop":
                await self._stop()
                await self._say("stopped")
            case kind:
                hint = "send `end`, `text` or `stop`, or sound as a binary message"
                await self._say_error(InnerRequestError(f"there is no message {kind!r}", hint=hint))

    async def _begin_turn(self, start: Start, recording: bytes, text: str | None) -> None:
        """Begin to answer; what is answered now is broken off, as a person who is interrupted does."""
        await self._stop()
        self._turn = asyncio.create_task(self._answer(start, recording, text), name="converse")

    async def _stop(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()
            await asyncio.wait({turn})

    async def _answer(self, start: Start, recording: bytes, text: str | None) -> None:
        timings = Timings()
        timings.begin()
        written: list[str] = []
        try:
            said = await self._hear(start, recording) if text is None else text
            timings.mark("heard_s")
            await self._say("transcript", text=said)
            if not _WORD.search(said):
                await self._say("done", text="", timings=timings.marks)
                return
            self._history.add("user", said)
            await self._write_and_speak(start, written, timings)
            timings.mark("whole_s")
            await self._say("done", text="".join(written), timings=timings.marks)
        except* CorralError as group:  # of one of the tasks, or of none
            errors = [error for error in group.exceptions if isinstance(error, CorralError)]
            await self._say_error(errors[0])
        finally:
            if written:  # also of an answer that was broken off: the model knows how far it came
                self._history.add("assistant", "".join(written))

    async def _hear(self, start: Start, recording: bytes) -> str:
        fields: dict[str, Json] = {"model": start.hear, "response_format": "json"}
        if start.language is not None:
            fields["language"] = start.language
        media_type, body = write_form(fields, "recording", recording)
        async with ask(self._speech, self._scope, "/v1/audio/transcriptions", media_type, body) as answer:
            return as_text(_parse(await answer.read(), "the transcription").get("text"))

    async def _write_and_speak(self, start: Start, written: list[str], timings: Timings) -> None:
        sentences: asyncio.Queue[str | None] = asyncio.Queue()

        async def write() -> None:
            cutter = SentenceCutter(first=1, others=SHORT_SENTENCES)
            async for delta in self._chat_deltas(start):
                timings.mark("first_text_s")
                written.append(delta)
                await self._say("text", delta=delta)
                for sentence in cutter.add(delta):
                    sentences.put_nowait(sentence)
            for sentence in cutter.end():
                sentences.put_nowait(sentence)
            sentences.put_nowait(None)

        async def speak() -> None:
            number = 0
            while (sentence := await sentences.get()) is not None:
                if _WORD.search(sentence):
                    await self._speak(start, number, " ".join(sentence.split()), timings)
                    number += 1

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            group.create_task(speak())

    async def _chat_deltas(self, start: Start) -> AsyncIterator[str]:
        fields = {**start.options, "model": start.chat, "messages": self._history.list_messages(), "stream": True}
        path, body = "/v1/chat/completions", to_json(fields)
        async with ask(self._chat, self._scope, path, "application/json", body) as answer:
            rest = b""
            async for piece in answer.pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: {") and (delta := _read_delta(_parse(line[6:], "an event of the chat"))):
                        yield delta

    async def _speak(self, start: Start, number: int, sentence: str, timings: Timings) -> None:
        fields = {
            "model": start.speak,
            "voice": start.voice,
            "input": sentence,
            "response_format": start.format,
            "speed": start.speed,
        }
        async with ask(self._speech, self._scope, "/v1/audio/speech", "application/json", to_json(fields)) as answer:
            await self._say("sound", sentence=number, text=sentence, media_type=MEDIA_TYPES[start.format])
            async for piece in answer.pieces:
                timings.mark("first_sound_s")
                await self._send({"type": "websocket.send", "bytes": piece})

    async def _read(self) -> bytes | dict[str, Json]:
        """Return the next message of the client. Raises: _GoneError."""
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                raise _GoneError
            if (data := message.get("bytes")) is not None:
                return data
            try:
                return as_object(from_json(message.get("text") or ""))
            except ValueError:
                await self._say_error(InnerRequestError("the message is not JSON"))

    async def _say(self, kind: str, **fields: Json) -> None:
        await self._send({"type": "websocket.send", "text": to_json({"type": kind, **fields}).decode()})

    async def _say_error(self, error: CorralError) -> None:
        problems = [
            {"code": problem.code, "message": problem.what, "where": problem.where, "hint": problem.hint}
            for problem in error.problems
        ]
        await self._say("error", **problems[0], problems=problems)

    async def _close(self, code: int) -> None:
        await self._send({"type": "websocket.close", "code": code})


def _parse(text: bytes, what: str) -> dict[str, Json]:
    """Parse what a step answered. Raises: InnerRequestError, where it is not JSON."""
    try:
        return as_object(from_json(text))
    except ValueError as error:
        raise InnerRequestError(f"{what} is not JSON: {error}") from error


def _read_delta(event: Mapping[str, Json]) -> str:
    """Return the new text of an event. Raises: InnerRequestError where it is an error."""
    if error := as_object(event.get("error")):
        raise InnerRequestError(as_text(error.get("message")) or "the chat failed")
    choice = as_object(next(iter(as_list(event.get("choices"))), None))
    return as_text(as_object(choice.get("delta")).get("content"))


def _make_late_error() -> InnerRequestError:
    return InnerRequestError(f"no `start` came within {START_S:.0f} s", hint="send it first")
