"""An Ollama for tests: models that "write" the words of their prompt back, over HTTP on loopback, and ways to fail.

Stands for: an Ollama server as `corral.engines.ollama` uses it. Text is the prompt's words, one token each, up to
`num_predict`; an embedding is four numbers that follow from the text. A model loads on its first request and stays
until it is unloaded with `keep_alive` 0.

Taken from the protocol description (`api/types.go`, `server/routes.go`): paths, streams of JSON lines with the counts
in the last one, one object with `stream: false`, `{error}` bodies and `{error}` lines in mid-stream, 404 with "not
found", 503 when the queue is full, names without a tag mean `:latest`, `/api/ps` with `size_vram`, a changed `num_ctx`
loads the model anew.

Not checked against the real program: wording of errors, timing, what `options` it refuses.

As a program: `python tests/doubles/ollama.py --port 11434 --seconds-per-token 0.01`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

Json = Any
SIZE = 4 * 2**30
"""Bytes that any model takes."""


@dataclass
class OllamaFaults:
    """What goes wrong from now on; a test sets these while the double runs."""

    refuse: tuple[int, str] | None = None
    """(status, message) of every request that computes."""
    error_after: tuple[int, str] | None = None
    """(tokens, message): the stream turns into an error after so many tokens."""
    break_after: int | None = None
    """The connection breaks after so many tokens."""
    end_after: int | None = None
    """The stream ends politely after so many tokens, without its last line."""
    not_json: bool = False
    keeps_models: bool = False
    """Unloading does nothing."""


class OllamaDouble:
    """A server on loopback; `async with OllamaDouble() as ollama:` starts it."""

    def __init__(self, *, port: int = 0, version: str = "0.12.6", seconds_per_token: float = 0) -> None:
        self.port = port
        self.version = version
        self.faults = OllamaFaults()
        self.models = ["smol:latest", "llava:7b"]
        self.loaded: dict[str, int] = {}
        """Model to `num_ctx`."""
        self.on_gpu = SIZE
        """How many bytes of a model fit on the GPU."""
        self.loads: list[tuple[str, int]] = []
        self.bodies: list[Json] = []
        self.writing = 0
        """Requests that are being answered now."""
        self._seconds_per_token = seconds_per_token
        self._held = False
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> OllamaDouble:
        app = web.Application()
        app.add_routes(
            [
                web.get("/api/version", self._get_version),
                web.get("/api/ps", self._get_ps),
                web.get("/api/tags", self._get_tags),
                web.post("/api/generate", self._write),
                web.post("/api/chat", self._write),
                web.post("/api/embed", self._embed),
            ]
        )
        # Ollama stops writing when the client is gone.
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def hold(self) -> None:
        """Stop writing before the next token."""
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

    async def _get_version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": self.version})

    async def _get_tags(self, _: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": name, "model": name, "size": SIZE} for name in self.models]})

    async def _get_ps(self, _: web.Request) -> web.Response:
        models = [
            {"name": name, "model": name, "size": SIZE, "size_vram": self.on_gpu, "context_length": context}
            for name, context in self.loaded.items()
        ]
        return web.json_response({"models": models})

    async def _write(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        model = _full(body["model"])
        if body.get("keep_alive") == 0 and not body.get("prompt") and not body.get("messages"):
            if not self.faults.keeps_models:
                self.loaded.pop(model, None)
            return web.json_response({"model": model, "response": "", "done": True, "done_reason": "unload"})
        refusal = self._refusal(model)
        if refusal is not None:
            return refusal
        self._load(model, body)
        if body.get("stream") is False:
            return web.json_response(_whole(body, chat=request.path.endswith("chat")))
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        self.writing += 1
        await self._notify()
        try:
            await self._stream(request, response, body, chat=request.path.endswith("chat"))
        finally:
            self.writing -= 1
            asyncio.get_running_loop().create_task(self._notify())
        return response

    async def _stream(self, request: web.Request, response: web.StreamResponse, body: Json, *, chat: bool) -> None:
        words = (body["messages"][-1]["content"] if chat else body["prompt"]).split()
        limit = body.get("options", {}).get("num_predict", len(words))
        if self.faults.not_json:
            await response.write(b"<html>\n")
            return
        if body.get("think"):
            await response.write(_line(body, chat, thinking="hm"))
        for number, word in enumerate(words[:limit]):
            await self._pause()
            if await self._fail(request, response, number):
                return
            await response.write(_line(body, chat, text=word + " "))
        counts = {"prompt_eval_count": len(words), "eval_count": min(limit, len(words)), "eval_duration": 500_000_000}
        reason = "length" if limit < len(words) else "stop"
        await response.write(_line(body, chat, done=True, done_reason=reason, load_duration=250_000_000, **counts))

    async def _pause(self) -> None:
        if self._seconds_per_token:
            await asyncio.sleep(self._seconds_per_token)
        async with self._changed:
            await self._changed.wait_for(lambda: not self._held)

    async def _fail(self, request: web.Request, response: web.StreamResponse, written: int) -> bool:
        if self.faults.error_after and self.faults.error_after[0] == written:
            await response.write(json.dumps({"error": self.faults.error_after[1]}).encode() + b"\n")
            return True
        if self.faults.break_after == written:
            assert request.transport is not None
            request.transport.close()
            return True
        return self.faults.end_after == written

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        model = _full(body["model"])
        refusal = self._refusal(model)
        if refusal is not None:
            return refusal
        self._load(model, body)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        return web.json_response({"model": model, "embeddings": [embedding(t) for t in texts], "prompt_eval_count": 7})

    def _refusal(self, model: str) -> web.Response | None:
        if self.faults.refuse:
            status, message = self.faults.refuse
            return web.json_response({"error": message}, status=status)
        if model not in self.models:
            return web.json_response({"error": f"model '{model}' not found"}, status=404)
        return None

    def _load(self, model: str, body: Json) -> None:
        context = body.get("options", {}).get("num_ctx", 4096)
        if self.loaded.get(model) != context:
            self.loads.append((model, context))
        self.loaded[model] = context


def embedding(text: str) -> list[float]:
    """The double's embedding of a text."""
    return [byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:4]]


def _full(model: str) -> str:
    return model if ":" in model else f"{model}:latest"


def _whole(body: Json, *, chat: bool) -> Json:
    """What `stream: false` gives: the last line with all of the text in it."""
    words = (body["messages"][-1]["content"] if chat else body["prompt"]).split()
    written = words[: body.get("options", {}).get("num_predict", len(words))]
    reason = "length" if len(written) < len(words) else "stop"
    counts = {"prompt_eval_count": len(words), "eval_count": len(written), "eval_duration": 500_000_000}
    return json.loads(_line(body, chat, text=" ".join(written), done_reason=reason, **counts | {"done": True}))


def _line(body: Json, chat: bool, *, text: str = "", thinking: str = "", **rest: Json) -> bytes:
    thought = {"thinking": thinking} if thinking else {}
    said = {"message": {"role": "assistant", "content": text, **thought}} if chat else {"response": text, **thought}
    return json.dumps({"model": body["model"], **said, "done": False, **rest}).encode() + b"\n"


async def _serve(port: int, seconds_per_token: float) -> None:
    async with OllamaDouble(port=port, seconds_per_token=seconds_per_token) as double:
        sys.stdout.write(f"listening on {double.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Run the double as a program until it is killed."""
    parser = argparse.ArgumentParser(description="An Ollama double for tests.")
    parser.add_argument("--port", type=int, default=11434)
    parser.add_argument("--seconds-per-token", type=float, default=0.01)
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(options.port, options.seconds_per_token))


if __name__ == "__main__":
    main()
