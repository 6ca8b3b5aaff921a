"""An Ollama for tests: models that "write" the words of their prompt back, over HTTP on loopback, and ways to fail.

Stands for: an Ollama server as `corral.engines.ollama` uses it. Text is the prompt's words, one token each, up to
`num_predict`; an embedding is four numbers that follow from the text. A model loads on its first request and stays
until it is unloaded with `keep_alive` 0.

Checked against: Ollama 0.32.15, built from its source, by two requests to servers with `OLLAMA_NUM_PARALLEL` 1 and 2;
and Ollama 0.17.4, by its source (`api/types.go`, `server/routes.go`, `server/sched.go`) and by running
`tests/contracts/test_ollama_contract.py` on a server built from it. Headers come with the first line, so a server that
loads or reads is silent; a prompt is read to its end even when the client is gone; what is longer than the context is
cut unless `truncate` is false; a wrong option type is a 500, an unknown option is ignored; images to a model for text
are ignored; models that share a weights file are listed as loaded under the name that was loaded first.

Not checked: the wording of errors that a runner makes, timing, memory.

As a program: `python tests/doubles/ollama.py --port 11434 --seconds-per-token 0.01`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiohttp import web

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from doubles.ollama_answers import (
    asks_to_unload,
    embedding,
    fail,
    find_missing_capability,
    list_words,
    refuse_options,
    write_line,
    write_whole,
)
from doubles.ollama_models import (
    DEFAULT_CONTEXT,
    SIZE,
    HeldModel,
    find_wrong_format,
    list_pull_lines,
    make_models,
    read_models,
    shorten_name,
    write_models,
)

Json = Any
TOO_LONG = "the input length exceeds the context length"


@dataclass
class OllamaFaults:
    """What goes wrong from now on; a test sets these while the double runs."""

    refuse: tuple[int, str] | None = None
    """(status, message) of every request that computes."""
    busy: int = 0
    """How many more requests find the queue full."""
    page: tuple[int, str] | None = None
    """(status, HTML) of every request that computes: a proxy answers in the server's place."""
    lost_versions: int = 0
    """How many more questions for the version go unanswered."""
    frozen: bool = False
    """No request is answered any more, as of a process that was stopped or a host that went away."""
    error_after: tuple[int, str] | None = None
    """(tokens, message): the stream turns into an error after so many tokens."""
    break_after: int | None = None
    """The connection breaks after so many tokens."""
    garble_after: int | None = None
    """The stream's chunks are malformed after so many tokens, from `proceed` on, and the connection stays open."""
    hold_after: int | None = None
    """Nothing more is written after so many tokens, and the connection stays open."""
    end_after: int | None = None
    """The stream ends politely after so many tokens, without its last line."""
    not_json: bool = False
    keeps_models: bool = False
    """Unloading does nothing."""
    pull: str | None = None
    """Why a pull fails in its midst."""


class OllamaDouble:
    """A server on loopback; `async with OllamaDouble() as ollama:` starts it."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        version: str = "0.17.4",
        seconds_per_token: float = 0,
        parallel: int | None = None,
        models_file: Path | None = None,
    ) -> None:
        """`parallel` is how many answers are written at once, as `OLLAMA_NUM_PARALLEL`; None sets no bound.

        With `models_file` the models are those of the file, and none at first; they stay when the double ends.
        """
        self._host = host
        self.port = port
        self._models_file = models_file
        self.version = version
        self.faults = OllamaFaults()
        self.models = make_models() if models_file is None else read_models(models_file)
        self.loaded: dict[str, int] = {}
        """Model to `num_ctx`."""
        self.on_gpu = SIZE
        """How many bytes of a model fit on the GPU."""
        self.loads: list[tuple[str, int]] = []
        self.bodies: list[Json] = []
        self.headers: list[dict[str, str]] = []
        """Of every request, whatever it asks for."""
        self.token: str | None = None
        """What a proxy before the server asks for; None lets everything through."""
        self.versions = 0
        """How often the version was said."""
        self.reading = 0
        """Prompts that are being read now, also those that nobody waits for any more."""
        self.writing = 0
        """Requests that are being answered now."""
        self._seconds_per_token = seconds_per_token
        self._lanes = nullcontext() if parallel is None else asyncio.Semaphore(parallel)
        self._held = self._held_reading = False
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> OllamaDouble:
        app = web.Application(middlewares=[self._guard], client_max_size=2**30)
        app.add_routes(
            [
                web.get("/", self._get_root),
                web.get("/api/version", self._get_version),
                web.get("/api/ps", self._get_ps),
                web.get("/api/tags", self._get_tags),
                web.post("/api/show", self._show),
                web.post("/api/generate", self._write),
                web.post("/api/chat", self._write),
                web.post("/api/embed", self._embed),
                web.post("/api/pull", self._pull),
                web.post("/api/copy", self._copy),
                web.post("/api/create", self._create),
                web.delete("/api/delete", self._delete),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        for task in self._tasks:
            task.cancel()
        await self._runner.cleanup()

    def hold(self) -> None:
        """Stop writing before the next token."""
        self._held = True

    def hold_reading(self) -> None:
        """Stop before a prompt is read: nothing is sent, not even headers."""
        self._held_reading = True

    async def proceed(self) -> None:
        """Read and write on."""
        self._held = self._held_reading = False
        await self._notify()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to become true of the double."""
        async with self._changed, asyncio.timeout(20):
            await self._changed.wait_for(condition)

    def add_model(self, name: str, *, like: str, system: str = "") -> None:
        """Make a model from another one: a copy, or with a system prompt a model of its own with the same weights."""
        self.models[name] = replace(self.models[like], name=name, system=system or self.models[like].system)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:  # Any: aiohttp's handler
        self.headers.append(dict(request.headers))
        if self.faults.frozen:
            await asyncio.Event().wait()
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, text="<html><head><title>401 Authorization Required</title></head></html>")
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return web.Response(status=404, text="404 page not found")

    async def _get_root(self, _: web.Request) -> web.Response:
        return web.Response(text="Ollama is running")

    async def _get_version(self, _: web.Request) -> web.Response:
        if self.faults.lost_versions:
            self.faults.lost_versions -= 1
            await asyncio.Event().wait()
        self.versions += 1
        await self._notify()
        return web.json_response({"version": self.version})

    async def _get_tags(self, _: web.Request) -> web.Response:
        listed = [{**model.describe(), "modified_at": "2026-11-01T00:00:00.5+01:00"} for model in self.models.values()]
        return web.json_response({"models": listed})

    async def _get_ps(self, _: web.Request) -> web.Response:
        models = [
            {
                **self.models[name].describe(),
                "size_vram": self.on_gpu,
                "context_length": context,
                "expires_at": "2026-11-01T00:05:00Z",
            }
            for name, context in self.loaded.items()
        ]
        return web.json_response({"models": models})

    async def _show(self, request: web.Request) -> web.Response:
        asked = (await request.json())["model"]
        model = self.models.get(shorten_name(asked))
        return fail(404, f"model '{asked}' not found") if model is None else web.json_response(model.show())

    # --- models ------------------------------------------------------------------------------------------------------

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        name = shorten_name((await request.json())["model"])
        if not re.fullmatch(r"[\w./-]+:[\w.-]+", name):
            return fail(400, "invalid model name")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        self.writing += 1
        await self._notify()
        try:
            for line in list_pull_lines(name):
                await response.write(json.dumps(line).encode() + b"\n")
                if self.faults.pull is not None:
                    await response.write(json.dumps({"error": self.faults.pull}).encode() + b"\n")
                    return response
                await self._pause()
        finally:
            self.writing -= 1
            asyncio.get_running_loop().create_task(self._notify())
        self.models[name] = HeldModel(name=name, weights=name)
        self._keep_models()
        return response

    async def _copy(self, request: web.Request) -> web.Response:
        body = await request.json()
        if shorten_name(body["source"]) not in self.models:
            return fail(404, f'model "{body["source"]}" not found')
        self.add_model(shorten_name(body["destination"]), like=shorten_name(body["source"]))
        self._keep_models()
        return web.Response()

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        if shorten_name(body["from"]) not in self.models:
            return fail(400, "pull model manifest: file does not exist")
        self.add_model(shorten_name(body["model"]), like=shorten_name(body["from"]), system=body.get("system", ""))
        self._keep_models()
        return web.json_response({"status": "success"})

    async def _delete(self, request: web.Request) -> web.Response:
        asked = (await request.json())["model"]
        if self.models.pop(shorten_name(asked), None) is None:
            return fail(404, f"model '{asked}' not found")
        self.loaded.pop(shorten_name(asked), None)
        self._keep_models()
        return web.Response()

    def _keep_models(self) -> None:
        if self._models_file is not None:
            write_models(self._models_file, self.models)

    # --- inference ---------------------------------------------------------------------------------------------------

    async def _write(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        chat = request.path.endswith("chat")
        refusal = self._find_refusal(body, "chat" if chat else "generate")
        if refusal is not None:
            return refusal
        model = shorten_name(body["model"])
        if not body.get("messages" if chat else "prompt"):
            unloads = asks_to_unload(body)
            if not unloads:
                self._load(model, body)
            elif not self.faults.keeps_models:
                self.loaded.pop(self._find_loaded(model) or "", None)
            return web.json_response(
                json.loads(write_line(body, chat, done=True, done_reason="unload" if unloads else "load"))
            )
        self._load(model, body)
        wrong = find_wrong_format(body.get("format"))
        if wrong is not None:
            return fail(500, wrong)
        words = list_words(body, chat=chat)
        context = body.get("options", {}).get("num_ctx", DEFAULT_CONTEXT)
        if len(words) > context and body.get("truncate") is False:
            return fail(400, TOO_LONG)
        async with self._lanes:
            await self._read()
            if body.get("stream") is False:
                return web.json_response(write_whole(body, words[-context:], chat=chat))
            self.writing += 1
            await self._notify()
            try:
                return await self._stream(request, body, words[-context:], chat=chat)
            finally:
                self.writing -= 1
                asyncio.get_running_loop().create_task(self._notify())

    async def _read(self) -> None:
        """Read the prompt, which goes on when the client leaves."""
        task = asyncio.create_task(self._read_prompt())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def _read_prompt(self) -> None:
        self.reading += 1
        await self._notify()
        async with self._changed:
            await self._changed.wait_for(lambda: not self._held_reading)
        self.reading -= 1
        await self._notify()

    async def _stream(self, request: web.Request, body: Json, words: list[str], *, chat: bool) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        limit = body.get("options", {}).get("num_predict", len(words))
        if self.faults.not_json:
            await response.prepare(request)
            await response.write(b"<html>\n")
            return response
        for number, word in enumerate(words[:limit]):
            await self._pause()
            if not response.prepared:
                await response.prepare(request)
                if body.get("think"):
                    await response.write(write_line(body, chat, thinking="hm"))
            if await self._fail_midway(request, response, number):
                return response
            await response.write(write_line(body, chat, text=word + " "))
        counts: Json = {
            "prompt_eval_count": len(words),
            "eval_count": min(limit, len(words)),
            "eval_duration": 500_000_000,
        }
        reason = "length" if limit < len(words) else "stop"
        await response.write(write_line(body, chat, done=True, done_reason=reason, load_duration=250_000_000, **counts))
        return response

    async def _pause(self) -> None:
        if self._seconds_per_token:
            await asyncio.sleep(self._seconds_per_token)
        async with self._changed:
            await self._changed.wait_for(lambda: not self._held)

    async def _fail_midway(self, request: web.Request, response: web.StreamResponse, written: int) -> bool:
        assert request.transport is not None
        if self.faults.error_after and self.faults.error_after[0] == written:
            await response.write(json.dumps({"error": self.faults.error_after[1]}).encode() + b"\n")
            return True
        if self.faults.break_after == written:
            request.transport.close()
            return True
        if self.faults.garble_after == written:
            self.hold()  # until the client has read what came before
            await self._pause()
            request.transport.write(b"no size\r\n")
        if written in (self.faults.garble_after, self.faults.hold_after):
            await asyncio.Event().wait()
        return self.faults.end_after == written

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        refusal = self._find_refusal(body, "embed")
        if refusal is not None:
            return refusal
        self._load(shorten_name(body["model"]), body)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        context = body.get("options", {}).get("num_ctx", DEFAULT_CONTEXT)
        if body.get("truncate") is False and any(len(text.split()) > context for text in texts):
            return fail(400, TOO_LONG)
        await self._read()
        tokens = sum(len(text.split()) for text in texts)
        embeddings = [embedding(text)[: body.get("dimensions")] for text in texts]
        return web.json_response({"model": body["model"], "embeddings": embeddings, "prompt_eval_count": tokens})

    def _find_refusal(self, body: Json, call: str) -> web.Response | None:
        """The answer to a request that is not done, in the server's order of checks."""
        keep_alive, think = body.get("keep_alive"), body.get("think")
        if isinstance(keep_alive, str) and not re.fullmatch(r"-?(\d+(\.\d+)?(ns|us|ms|s|m|h))+", keep_alive):
            return fail(400, f'time: missing unit in duration "{keep_alive}"')
        if isinstance(think, str) and think not in ("high", "medium", "low"):
            return fail(400, f'invalid think value: "{think}" (must be "high", "medium", "low", true, or false)')
        if self.faults.page:
            return web.Response(status=self.faults.page[0], text=self.faults.page[1], content_type="text/html")
        if self.faults.refuse:
            return fail(*self.faults.refuse)
        model = self.models.get(shorten_name(body["model"]))
        if model is None and call == "embed":
            return fail(404, f'model "{body["model"]}" not found, try pulling it first')
        if model is None:
            return fail(404, f"model '{body['model']}' not found")
        if call != "embed" and asks_to_unload(body):  # it needs no capability
            return None
        if self.faults.busy:
            self.faults.busy -= 1
            return fail(503, "server busy, please try again.  maximum pending requests exceeded")
        return find_missing_capability(body, model, call) or refuse_options(body)

    def _load(self, model: str, body: Json) -> None:
        context = body.get("options", {}).get("num_ctx", DEFAULT_CONTEXT)
        name = self._find_loaded(model) or model
        if self.loaded.get(name) != context:
            self.loads.append((model, context))
        self.loaded[name] = context

    def _find_loaded(self, model: str) -> str | None:
        """The name under which the weights of a model are loaded."""
        weights = self.models[model].weights
        return next((name for name in self.loaded if self.models[name].weights == weights), None)


async def _serve(host: str, port: int, seconds_per_token: float, models: Path | None) -> None:
    double = OllamaDouble(host=host, port=port, seconds_per_token=seconds_per_token, models_file=models)
    async with double:
        sys.stdout.write(f"listening on {double.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Run the double as a program until it is killed."""
    parser = argparse.ArgumentParser(description="An Ollama double for tests.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=11434)
    parser.add_argument("--models", type=Path, help="a file that keeps the models")
    parser.add_argument("--seconds-per-token", type=float, default=0.01)
    options = parser.parse_args()
    # As Ollama (`server/routes.go`); without a handler, the first process of a container outlives the signal.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(options.host, options.port, options.seconds_per_token, options.models))


if __name__ == "__main__":
    main()
