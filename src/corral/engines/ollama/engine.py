"""The `ollama` engine: one attempt is one request, and closing its connection ends it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from corral.engine_kinds import OLLAMA
from corral.engines.answers import as_list, as_number, as_object, as_text
from corral.engines.inputs import read_inputs, read_options
from corral.engines.ollama.client import OllamaClient, SessionFactory, Timings, open_session
from corral.engines.ollama.errors import (
    AttemptOverdueError,
    OutputUnwritableError,
    RequestRefusedError,
    ServerAnswerError,
    ServerTooOldError,
)
from corral.engines.ollama.inputs import OllamaInputs, OllamaOptions
from corral.engines.ollama.protocol import PATHS, Answer, complete_name, make_request_body, read_token_limit
from corral.errors import ProblemsError
from corral.units import Bytes
from corral.work import (
    EngineError,
    EngineUnavailableError,
    Json,
    OutputFile,
    Produced,
    Reporter,
    Resident,
    Work,
)

_OLDEST = (0, 3, 0)
"""The first version with `/api/embed`; `/api/ps` is older."""

_log = structlog.get_logger(__name__)


class Ollama:
    """One Ollama server."""

    def __init__(
        self,
        url: str,
        *,
        options: OllamaOptions | None = None,
        timings: Timings | None = None,
        session: SessionFactory = open_session,
    ) -> None:
        self._options = options or OllamaOptions.model_validate({})
        self._timings = timings or Timings()
        self._client = OllamaClient(url, timings=self._timings, session=session)

    @property
    def name(self) -> str:
        """The engine's word in tasks and in the cluster file."""
        return OLLAMA.name

    async def run(self, work: Work, report: Reporter) -> Produced:
        """Chat, generate or embed. Raises: EngineError."""
        try:
            inputs = read_inputs(OllamaInputs, self.name, work.inputs)
        except ProblemsError as error:
            raise RequestRefusedError(
                error.what, where=error.where, hint=error.hint, problems=error.problems
            ) from error
        if not work.model:
            raise RequestRefusedError("the task names no model", where="model", hint="write model: llama3.2")
        try:
            async with asyncio.timeout(work.timeout_s):
                body = await make_request_body(inputs, model=work.model, options=self._options, files=work.files)
                if inputs.call() == "embed":
                    return await self._embed(body, work)
                return await self._write(PATHS[inputs.call()], body, work, report)
        except TimeoutError as error:
            what = f"the answer was not complete within {work.timeout_s:g}s"
            raise AttemptOverdueError(what, where=self._client.url, hint="give the task a longer timeout") from error

    async def resident(self) -> tuple[Resident, ...]:
        """Say what `/api/ps` lists, under full names (`llama3.2:latest`), with what each takes of the GPU's memory."""
        try:
            models = await self._list_loaded()
        except EngineError:
            return ()
        return tuple(
            Resident(model=name, memory=None if size is None else Bytes(int(size)))
            for name, model in models.items()
            for size in (as_number(model.get("size_vram")),)
        )

    async def check(self) -> None:
        """Return when the server answers and is new enough."""
        try:
            version = as_text((await self._client.look("/api/version")).get("version"))
        except EngineUnavailableError:
            raise
        except EngineError as error:
            raise ServerAnswerError(error.what, where=error.where, hint=error.hint) from error
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
        # Builds from source call themselves 0.0.0.
        if not numbers or (0, 0, 0) != numbers < _OLDEST:
            what = f"the server is Ollama {version or 'of an unknown version'}, and at least 0.3.0 is needed"
            raise ServerTooOldError(what, where=self._client.url, hint="upgrade Ollama there")

    async def release(self) -> None:
        """Unload every model, and wait until `/api/ps` no longer lists it."""
        for name in await self._list_loaded():
            # An empty prompt with a keep_alive of 0 unloads, whatever the model is for.
            await self._client.ask("/api/generate", {"model": name, "keep_alive": 0, "stream": False})
        now = asyncio.get_running_loop().time
        deadline = now() + self._timings.release_s
        while await self._list_loaded():
            if now() >= deadline:
                _log.warning("models_not_unloaded", url=self._client.url)
                return
            await asyncio.sleep(self._timings.retry_s)

    async def kill(self) -> None:
        """Drop the connection, which ends the request; the server itself is out of reach."""
        await self._client.drop()

    async def close(self) -> None:
        """Drop every connection for good."""
        await self._client.close()

    async def _write(self, path: str, body: dict[str, Json], work: Work, report: Reporter) -> Produced:
        answer = Answer(where=self._client.url, limit=read_token_limit(as_object(body["options"])))
        async with self._client.stream(path, body) as lines:
            async for line in lines:
                piece = answer.take(line)
                report.progress(answer.fraction, f"{answer.pieces} tokens")
                if piece:
                    report.preview("text/plain", piece.encode())
        values = answer.list_values()
        texts = {"text.txt": "".join(answer.text), "thinking.txt": "".join(answer.thinking)}
        kept = {name: text for name, text in texts.items() if text or name == "text.txt"}
        files = [
            await _write_output(work.scratch, name, text, "text/plain; charset=utf-8") for name, text in kept.items()
        ]
        report.progress(1.0, f"{answer.pieces} tokens")
        return Produced(
            files=tuple(files), values={**values, "spilled_bytes": await self._measure_spilled(body["model"])}
        )

    async def _embed(self, body: dict[str, Json], work: Work) -> Produced:
        reply = await self._client.ask(PATHS["embed"], body)
        vectors = as_list(reply.get("embeddings"))
        if not vectors:
            raise ServerAnswerError("the server answered without embeddings", where=self._client.url)
        content = await asyncio.to_thread(json.dumps, {"model": body["model"], "embeddings": vectors})
        file = await _write_output(work.scratch, "embeddings.json", content, "application/json")
        values: dict[str, Json] = {
            "embeddings": len(vectors),
            "dimensions": len(as_list(vectors[0])),
            "prompt_tokens": reply.get("prompt_eval_count"),
            "spilled_bytes": await self._measure_spilled(body["model"]),
        }
        return Produced(files=(file,), values=values)

    async def _list_loaded(self) -> Mapping[str, dict[str, Json]]:
        models = [as_object(model) for model in as_list((await self._client.look("/api/ps")).get("models"))]
        named = {as_text(model.get("name")) or as_text(model.get("model")): model for model in models}
        return {complete_name(name): model for name, model in named.items() if name}

    async def _measure_spilled(self, model: str) -> int | None:
        """Bytes of the model that are in the computer's memory and not the GPU's; None where it is loaded no longer."""
        try:
            loaded = (await self._list_loaded()).get(complete_name(model), {})
        except EngineError:
            return None  # the answer is complete; what it ran on is only reported if the server still knows
        size, on_gpu = as_number(loaded.get("size")), as_number(loaded.get("size_vram"))
        return None if size is None or on_gpu is None else max(int(size - on_gpu), 0)


async def _write_output(scratch: Path, name: str, content: str, media_type: str) -> OutputFile:
    path = scratch / name
    try:
        await asyncio.to_thread(path.write_text, content, "utf-8")
    except OSError as error:
        raise OutputUnwritableError(f"cannot write {name!r}: {error.strerror}", where=str(scratch)) from error
    return OutputFile(name=name, path=path, media_type=media_type)


def build_ollama(url: str, options: Mapping[str, Any]) -> Ollama:  # Any: JSON from the cluster file, checked here
    """Return the adapter of one server. Raises: ProblemsError when `options` are wrong."""
    return Ollama(url, options=read_options(OllamaOptions, OLLAMA.name, options))
