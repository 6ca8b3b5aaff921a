"""A server that speaks OpenAI's API for tests: speech, transcriptions, images and lists of models, and ways to fail.

Stands for: the part of that API that no server in the locked packages has. Chats, texts and vectors are tested on
llama.cpp's own server (`tests/integration/engines_local/test_openai_on_llama.py`).

Checked against the sources, not against running servers: Speaches (`routers/speech.py` 02ca270, `routers/stt.py`
06120fb, `routers/misc.py` 9c2ce72: streamed speech, 404 with `detail` for a model that is not installed, `/api/ps` as a
list of names), vLLM (`speech_to_text/protocol.py` 0cca7f6: a duration that is text, words apart from segments), the
server of stable-diffusion.cpp (`routes_openai.cpp` 0137f16: `sd-cpp-local`, arguments inside of the prompt, `image[]`,
an error that is text), GPT-SoVITS (`api_v2.py` 0235857: `/tts` in place of OpenAI's paths). Owner, aliases and `meta`
are as xllamacpp's llama-server lists its model, which was run.

Not checked: a llama-server that keeps several models (`status`, `/models/unload`), from its documentation; LM Studio's
answer to an unknown path (200 with `error`), from reports of its users.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import wave
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = Any
PNG = b"\x89PNG\r\n\x1a\n-an image"
SPOKEN = [
    {"id": 0, "start": 0.0, "end": 1.5, "text": " The fox"},
    {"id": 1, "start": 1.5, "end": 2.5, "text": " sleeps."},
]
WORDS = [{"word": "The", "start": 0.0, "end": 0.5}, {"word": "fox", "start": 0.5, "end": 1.5}]


def make_wav(seconds: float, *, rate: int = 24_000) -> bytes:
    """Make silence, as whole numbers of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(bytes(2 * int(seconds * rate)))
    return file.getvalue()


@dataclass
class OpenAiFaults:
    """What goes wrong from now on."""

    refuse: tuple[int, Json] | None = None
    """(status, body) of every request that computes."""
    missing: frozenset[str] = frozenset()
    """Paths that the server does not have."""
    break_speech: bool = False
    """The connection breaks in the midst of speech."""


@dataclass
class OpenAiDouble:
    """A server on loopback; `async with OpenAiDouble() as server:` starts it."""

    owner: str = "speaches-ai"
    model_names: dict[str, dict[str, Json]] = field(
        default_factory=lambda: {name: {} for name in ("tts", "whisper", "sd-cpp-local")}
    )
    """What `/v1/models` says of each model, next to its name and owner."""
    written: dict[str, str] = field(default_factory=dict[str, str])
    """What a model writes, whatever it is asked; others write the words of the last message back."""
    loaded: list[str] | None = None
    """What `/api/ps` lists; None where there is no such path."""
    corral_slots: list[Json] | None = None
    """What `/corral/v1/slots` lists; None where it is no Corral."""
    token: str | None = None
    speech_path: str = "/v1/audio/speech"
    """Where it speaks; with another one it has no list of models, and describes its paths as FastAPI does."""
    sound: bytes = field(default_factory=lambda: make_wav(0.5))
    images: list[Json] = field(default_factory=lambda: [{"b64_json": b64encode(PNG).decode()}])
    faults: OpenAiFaults = field(default_factory=OpenAiFaults)
    bodies: list[Json] = field(default_factory=list[Json])
    """Of each request that computes; of a form, its fields as pairs, and the content of its files."""
    asked: list[str] = field(default_factory=list[str])
    """The path of every request."""
    unloaded: list[str] = field(default_factory=list[str])
    writing: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self._held = False
        self._changed = asyncio.Condition()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> OpenAiDouble:
        app = web.Application(middlewares=[self._guard], client_max_size=2**30)
        app.add_routes(
            [
                web.get("/v1/models", self._list_models),
                web.get("/api/ps", self._list_loaded),
                web.get("/corral/v1/slots", self._list_slots),
                web.delete("/api/ps/{name:.+}", self._unload),
                web.post("/models/unload", self._unload_by_router),
                web.post("/v1/chat/completions", self._chat),
                web.post(self.speech_path, self._speak),
                web.get("/openapi.json", self._describe),
                web.post("/v1/audio/transcriptions", self._hear),
                web.post("/v1/audio/translations", self._hear),
                web.post("/v1/images/generations", self._draw),
                web.post("/v1/images/edits", self._draw),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def hold(self) -> None:
        """Stop writing before the next piece."""
        self._held = True

    async def proceed(self) -> None:
        """Write on."""
        self._held = False
        await self._notify()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to become true of the double."""
        async with self._changed, asyncio.timeout(20):
            await self._changed.wait_for(condition)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _pause(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._held)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:  # Any: aiohttp's handler
        self.asked.append(request.path)
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"detail": "Invalid API key"}, status=403)
        has_own_protocol = self.speech_path != "/v1/audio/speech"
        if request.path in self.faults.missing or (has_own_protocol and request.path == "/v1/models"):
            return web.json_response({"detail": "Not Found"}, status=404)
        if request.method != "POST" or request.path == "/models/unload":
            return await handler(request)
        if self.faults.refuse is not None:
            status, body = self.faults.refuse
            return web.json_response(body, status=status)
        self.writing += 1
        await self._notify()
        try:
            return await handler(request)
        finally:
            self.writing -= 1
            asyncio.get_running_loop().create_task(self._notify())

    async def _list_slots(self, _: web.Request) -> web.Response:
        if self.corral_slots is None:
            raise web.HTTPNotFound
        return web.json_response({"items": self.corral_slots})

    async def _list_models(self, _: web.Request) -> web.Response:
        listed = [{"id": name, "owned_by": self.owner, **facts} for name, facts in self.model_names.items()]
        return web.json_response({"object": "list", "data": listed})

    async def _describe(self, _: web.Request) -> web.Response:
        return web.json_response({"openapi": "3.1.0", "paths": {self.speech_path: {"post": {}}}})

    async def _list_loaded(self, _: web.Request) -> web.Response:
        if self.loaded is None:
            return web.json_response({"detail": "Not Found"}, status=404)
        return web.json_response({"models": self.loaded})

    async def _unload(self, request: web.Request) -> web.Response:
        assert self.loaded is not None
        self.loaded.remove(request.match_info["name"])
        self.unloaded.append(request.match_info["name"])
        return web.Response(status=204)

    async def _unload_by_router(self, request: web.Request) -> web.Response:
        name = (await request.json())["model"]
        self.model_names[name] = {"status": {"value": "unloaded"}}
        self.unloaded.append(name)
        return web.json_response({"success": True})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        """Write a model's text, or the words of the last message: whole, or as vLLM streams, without timings."""
        body = await request.json()
        self.bodies.append(body)
        if self.loaded is not None and body["model"] not in self.loaded:
            self.loaded.append(body["model"])
        text = self.written.get(body["model"]) or " ".join(str(body["messages"][-1]["content"]).split()) + " "
        words = re.findall(r"\S+\s*", text)
        if not body.get("stream"):
            message = {"role": "assistant", "content": text.rstrip()}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({"object": "chat.completion", "model": body["model"], "choices": [choice]})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in words:
            await self._pause()
            chunk = {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
            await response.write(f"data: {json.dumps(chunk)}\r\n\r\n".encode())
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        usage = {"choices": [], "usage": {"prompt_tokens": len(words), "completion_tokens": len(words)}}
        for chunk in (last, usage):
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        response = web.StreamResponse(headers={"Content-Type": "audio/wav"})
        await response.prepare(request)
        await response.write(self.sound[:100])
        if self.faults.break_speech:
            assert request.transport is not None
            request.transport.abort()
            return response
        await self._pause()
        await response.write(self.sound[100:])
        return response

    async def _hear(self, request: web.Request) -> web.Response:
        form = await request.post()
        fields = [(name, value) for name, value in form.items() if isinstance(value, str)]
        file = form["file"]
        assert isinstance(file, web.FileField)
        self.bodies.append([*fields, (file.filename, file.file.read())])
        await self._pause()
        asked = dict(fields)
        if asked["response_format"] == "json":
            return web.json_response({"text": "The fox sleeps."})
        answer = {"text": " The fox sleeps.", "language": "en", "duration": "2.5", "segments": SPOKEN}
        return web.json_response({**answer, "words": WORDS if "timestamp_granularities[]" in asked else None})

    async def _draw(self, request: web.Request) -> web.Response:
        if request.content_type == "application/json":
            self.bodies.append(await request.json())
        else:
            form = await request.post()
            self.bodies.append(
                [
                    (name, value if isinstance(value, str) else (value.filename, value.file.read()))
                    for name, value in form.items()
                ]
            )
        await self._pause()
        return web.json_response({"created": 1, "data": self.images})
