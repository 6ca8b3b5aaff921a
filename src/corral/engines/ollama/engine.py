"""The `ollama` engine: one attempt is one request, or several for many texts.

Closing its connection ends the writing of an answer at once. The reading of a prompt goes on to its end, and Ollama
does not say when: the next request waits for it there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from corral.engine_kinds import OLLAMA
from corral.engines.credentials import Credentials
from corral.engines.embedding import Vectors, embed_texts
from corral.engines.http.client import Manners, ServerClient, SessionFactory, Timings, open_session
from corral.engines.http.errors import ModelMissingError, RequestRefusedError, ServerAnswerError
from corral.engines.inputs import read_options
from corral.engines.ollama.contexts import choose_context
from corral.engines.ollama.errors import ServerTooOldError, translate_refusal
from corral.engines.ollama.held import HeldModels
from corral.engines.ollama.inputs import OllamaInputs, OllamaOptions
from corral.engines.ollama.names import complete_name
from corral.engines.ollama.options import write_keep_alive
from corral.engines.ollama.overlap import Overlap
from corral.engines.ollama.protocol import PATHS, Answer, make_request_body, read_token_limit
from corral.engines.ollama.pulling import pull
from corral.engines.outputs import write_answer
from corral.engines.refusing import read_request
from corral.narrowing import as_list, as_number, as_object, as_text
from corral.work import (
    Dialect,
    Endpoint,
    EngineError,
    EngineUnavailableError,
    HostedModel,
    Json,
    Produced,
    PullStep,
    Reporter,
    Resident,
    Use,
    Work,
)

_OLDEST = (0, 3, 0)
"""The first version with `/api/embed`; `/api/ps` is older."""

_MANNERS = Manners(
    alive="/api/version",
    start_hint="start it with `ollama serve`, or correct the engine's url in the cluster file",
    other_hint="check that the engine's url is that of an Ollama server",
    translate=translate_refusal,
)

_CORRAL = "corral_version"
"""The entry of `/api/version` by which the door of another Corral is known."""

_log = structlog.get_logger(__name__)


class Ollama:
    """One Ollama server."""

    def __init__(
        self,
        url: str,
        *,
        options: OllamaOptions | None = None,
        credentials: Credentials = Credentials(),  # noqa: B008 (a frozen value)
        timings: Timings | None = None,
        session: SessionFactory = open_session,
    ) -> None:
        self._options = options or OllamaOptions.model_validate({})
        self._timings = timings or Timings()
        self._client = ServerClient(
            url, _MANNERS, timings=self._timings, headers=credentials.make_headers, session=session
        )
        self._held = HeldModels(self._client)
        self._is_corral = False
        """Whether the server is the door of another Corral; known once it was checked."""

    @property
    def name(self) -> str:
        """The engine's word in tasks and in the cluster file."""
        return OLLAMA.name

    async def run(self, work: Work, report: Reporter) -> Produced:
        """Chat, generate or embed. Raises: EngineError."""
        inputs = read_request(OllamaInputs, self.name, work.inputs)
        if not work.model:
            raise RequestRefusedError("the task names no model", where="model", hint="write model: llama3.2")
        loaded = self._held.find_context(work.model)
        body = await make_request_body(inputs, model=work.model, options=self._options, files=work.files, loaded=loaded)
        try:
            if inputs.lists_images():
                await self._require_vision(work.model, report)
            if inputs.call() == "embed":
                produced = await self._embed(body, work, report)
            else:
                produced = await self._write(PATHS[inputs.call()], body, work, report)
        except ModelMissingError as error:
            raise await self._explain_missing(error, work.model) from error
        spilled = await self._measure_spilled(work.model)
        return Produced(files=produced.files, values={**produced.values, "spilled_bytes": spilled})

    @asynccontextmanager
    async def reach(
        self, model: str | None, note: Callable[[str], None], devices: tuple[str, ...] = (), use: Use = Use.WRITING
    ) -> AsyncGenerator[Endpoint]:
        """Lend the server, which loads models itself. Raises: EngineUnavailableError without a secret."""
        del note, devices, use  # nothing is started here
        name = None if model is None else complete_name(model)
        endpoint = self._client.make_endpoint(Dialect.OLLAMA, Dialect.OPENAI, model=name)
        loaded = None if name is None else self._held.find_context(name)
        choose = partial(choose_context, kept=self._options.context_size, loaded=loaded)
        yield replace(endpoint, choose_context=choose, is_corral=self._is_corral)

    async def resident(self) -> tuple[Resident, ...]:
        """Say which models are in memory, under all their full names (`llama3.2:latest`)."""
        try:
            return await self._held.list_residents()
        except EngineError:
            return ()

    async def check(self) -> None:
        """Return when the server answers and is new enough."""
        try:
            answer = await self._client.look("/api/version")
        except EngineUnavailableError:
            raise
        except EngineError as error:
            raise ServerAnswerError(error.what, where=error.where, hint=error.hint) from error
        self._is_corral = bool(answer.get(_CORRAL))
        version = as_text(answer.get("version"))
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
        # Builds from source call themselves 0.0.0.
        if not numbers or (0, 0, 0) != numbers < _OLDEST:
            what = f"the server is Ollama {version or 'of an unknown version'}, and at least 0.3.0 is needed"
            raise ServerTooOldError(what, where=self._client.url, hint="upgrade Ollama there")

    async def release(self) -> None:
        """Unload every model, and wait until `/api/ps` no longer lists it."""
        for name in await self._held.list_loaded():
            await self._unload(name)
        await self._wait_until_unloaded(lambda residents: not residents)

    async def overlaps(self) -> bool | None:
        """Whether the server answers two requests at once; None without a model in memory that writes."""
        return await Overlap(self._client, self._held, self._options.keep_alive).measure()

    def explain_lanes(self, lanes: int) -> str:
        """Return what makes the server answer so many requests at once."""
        return f"set OLLAMA_NUM_PARALLEL={lanes} in the environment of that Ollama, and start it again"

    async def list_models(self) -> tuple[HostedModel, ...]:
        """List what the server has, by name."""
        return await self._held.list_hosted()

    async def pull_model(self, model: str, report: Callable[[PullStep], None]) -> None:
        """Let the server fetch a model; a pull that was stopped goes on where it was."""
        await pull(self._client, model, report)

    async def delete_model(self, model: str) -> None:
        """Delete a model from the server's disk."""
        await self._client.delete("/api/delete", {"model": model})

    async def load_model(self, model: str, keep: float | str | None) -> None:
        """Load a model with the context of this instance; without `keep` it stays as long as after a task."""
        stays = write_keep_alive(self._options.keep_alive if keep is None else keep)
        size = self._options.context_size
        body: dict[str, Json] = {
            "model": model,
            "input": [],  # no texts: loads, whatever the model is for
            "options": {} if size is None else {"num_ctx": size},
            "keep_alive": stays,
        }
        asked = {name: value for name, value in body.items() if value is not None}
        await self._client.ask(PATHS["embed"], asked, note=lambda _: None)

    async def unload_model(self, model: str) -> None:
        """Unload a model; one that is at work goes when it is done, which is waited for a while."""
        await self._unload(model)
        name = complete_name(model)
        await self._wait_until_unloaded(lambda residents: all(resident.model != name for resident in residents))

    async def kill(self) -> None:
        """Drop the connection, which ends the request; the server itself is out of reach."""
        await self._client.drop()

    async def close(self) -> None:
        """Drop every connection for good."""
        await self._client.close()

    async def _unload(self, model: str) -> None:
        # An empty prompt with a keep_alive of 0 unloads, whatever the model is for.
        await self._client.look("/api/generate", {"model": model, "keep_alive": 0, "stream": False})

    async def _wait_until_unloaded(self, is_done: Callable[[tuple[Resident, ...]], bool]) -> None:
        now = asyncio.get_running_loop().time
        deadline = now() + self._timings.release_s
        while not is_done(await self._held.list_residents()):
            if now() >= deadline:
                _log.warning("models_not_unloaded", url=self._client.url)
                return
            await asyncio.sleep(self._timings.retry_s)

    async def _embed(self, body: dict[str, Json], work: Work, report: Reporter) -> Produced:
        async def embed(texts: list[str], note: Callable[[str], None]) -> Vectors:
            reply = await self._client.ask(PATHS["embed"], {**body, "input": texts}, note=note)
            tokens = int(as_number(reply.get("prompt_eval_count")) or 0)
            return Vectors(vectors=as_list(reply.get("embeddings")), tokens=tokens)

        asked = body["input"]
        texts = [asked] if isinstance(asked, str) else as_list(asked)  # checked: text, or a list of texts
        return await embed_texts(texts, embed, model=work.model, scratch=work.scratch, report=report)

    async def _write(self, path: str, body: dict[str, Json], work: Work, report: Reporter) -> Produced:
        answer = Answer(where=self._client.url, limit=read_token_limit(as_object(body["options"])))
        note, stall_s = partial(report.progress, None), self._timings.stall_s
        async with self._client.stream(path, body, note=note, stall_s=stall_s) as lines:
            async for line in lines:
                piece = answer.take(line)
                report.progress(answer.fraction, f"{answer.pieces} tokens")
                if piece:
                    report.preview("text/plain", piece.encode())
        values = answer.list_values()
        texts = {"text.txt": "".join(answer.text), "thinking.txt": "".join(answer.thinking)}
        files = await write_answer(work.scratch, texts)
        report.progress(1.0, f"{answer.pieces} tokens")
        return Produced(files=files, values=values)

    async def _require_vision(self, model: str, report: Reporter) -> None:
        """Return when the model looks at images, or the server does not say. Raises: RequestRefusedError."""
        shown = await self._client.ask("/api/show", {"model": model}, note=partial(report.progress, None))
        capabilities = [as_text(capability) for capability in as_list(shown.get("capabilities"))]
        if capabilities and "vision" not in capabilities:
            what = f"{model} does not look at images; it can do: {', '.join(capabilities)}"
            raise RequestRefusedError(what, where="inputs.images", hint="use a model with vision, such as llava")

    async def _explain_missing(self, error: ModelMissingError, model: str) -> EngineError:
        """Return what it means that the server does not find a model: another one would not if it lists it."""
        if complete_name(model) not in await self._held.list_all():
            return error
        what = f"the server lists {model}, and does not find it: {error.what}"
        return ServerAnswerError(what, where=error.where, hint=f"run `ollama pull {model}` on that server")

    async def _measure_spilled(self, model: str) -> int | None:
        """Bytes of the model that are in the computer's memory and not the GPU's; None where it is loaded no longer."""
        try:
            loaded = (await self._held.list_loaded()).get(complete_name(model))
        except EngineError:
            return None  # the answer is complete; what it ran on is only reported if the server still knows
        if loaded is None or loaded.size is None or loaded.on_gpu is None:
            return None
        return max(loaded.size - loaded.on_gpu, 0)


def build_ollama(
    url: str,
    options: Mapping[str, Any],  # Any: JSON from the cluster file, checked here
    credentials: Credentials,
) -> Ollama:
    """Return the adapter of one server. Raises: ProblemsError when `options` are wrong."""
    return Ollama(url, options=read_options(OllamaOptions, OLLAMA.name, options), credentials=credentials)
