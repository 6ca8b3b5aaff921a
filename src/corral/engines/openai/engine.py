"""The `openai` engine: one attempt is one request, or several for many texts to embed.

Closing its connection ends the request, as far as the server notices: vLLM, SGLang and llama-server stop computing,
servers of speech and images mostly finish what they began.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from corral.engine_kinds import OPENAI
from corral.engines.chat.messages import make_data_url
from corral.engines.chat.reply import Reply
from corral.engines.credentials import Credentials
from corral.engines.embedding import Vectors, embed_texts, read_vectors
from corral.engines.http.client import Manners, ServerClient, SessionFactory, Timings, open_session
from corral.engines.http.errors import RequestRefusedError, ServerAnswerError
from corral.engines.inputs import read_options
from corral.engines.openai.asking import ask
from corral.engines.openai.audio import hear, speak
from corral.engines.openai.drawing import draw
from corral.engines.openai.errors import CallMissingError, translate_event, translate_refusal
from corral.engines.openai.inputs import OpenAiInputs, OpenAiOptions
from corral.engines.openai.lanes import SaidLanes
from corral.engines.openai.models import LIST, ServedModels
from corral.engines.openai.requests import PATHS, make_embedding_request, make_writing_request
from corral.engines.outputs import write_answer
from corral.engines.refusing import read_request
from corral.errors import did_you_mean
from corral.work import (
    Dialect,
    Endpoint,
    EngineError,
    EngineUnavailableError,
    HostedModel,
    Produced,
    Reporter,
    Resident,
    Use,
    Work,
)

LARGEST_IMAGE = 64 * 2**20
"""Bytes of one image to look at; models scale everything down to some megapixels."""
PATIENT = Timings(probes=20)
"""Servers of speech and images often answer nothing while they compute; they are lost after some minutes of it."""
_MANNERS = Manners(
    alive=LIST,
    start_hint="start the server, or correct the engine's url in the cluster file",
    other_hint="check that the engine's url is that of a server that speaks OpenAI's API",
    translate=translate_refusal,
)

_log = structlog.get_logger(__name__)


class OpenAi:
    """One server that speaks OpenAI's API."""

    def __init__(
        self,
        url: str,
        *,
        options: OpenAiOptions | None = None,
        credentials: Credentials = Credentials(),  # noqa: B008 (a frozen value)
        timings: Timings = PATIENT,
        session: SessionFactory = open_session,
    ) -> None:
        """`url` can end with `/v1`, as clients of OpenAI's API are given it."""
        self._options = options or OpenAiOptions.model_validate({})
        base = url.rstrip("/").removesuffix("/v1")
        self._client = ServerClient(base, _MANNERS, timings=timings, headers=credentials.make_headers, session=session)
        self._models = ServedModels(self._client)
        self._lanes = SaidLanes(self._client)

    @property
    def name(self) -> str:
        """The engine's word in tasks and in the cluster file."""
        return OPENAI.name

    async def run(self, work: Work, report: Reporter) -> Produced:
        """Do what the inputs ask for. Raises: EngineError."""
        inputs = read_request(OpenAiInputs, self.name, work.inputs)
        if not work.model:
            hint = "name one that `corral models list --on all` shows"
            raise RequestRefusedError("the task names no model", where="model", hint=hint)
        _check_files(inputs, work)
        match inputs.call():
            case "chat" | "complete":
                return await self._write(inputs, work, report)
            case "embed":
                return await self._embed(inputs, work, report)
            case "speak":
                dialect = await self._models.find_dialect()
                return await speak(self._client, inputs, self._options, work, report, dialect)
            case "transcribe" | "translate":
                return await hear(self._client, inputs, work, report)
            case "draw":
                return await draw(self._client, inputs, work, report)

    @asynccontextmanager
    async def reach(
        self, model: str | None, note: Callable[[str], None], devices: tuple[str, ...] = (), use: Use = Use.WRITING
    ) -> AsyncGenerator[Endpoint]:
        """Lend the server, which loads models itself. Raises: EngineUnavailableError without a secret."""
        del note, devices, use  # nothing is started here
        endpoint = self._client.make_endpoint(Dialect.OPENAI, model=model)
        translate, dialect = None, self._models.dialect
        if dialect is not None:
            translate = partial(dialect.translate, voice=self._options.voice, language=self._options.language)
        yield replace(endpoint, is_corral=self._lanes.is_corral, translate_speech=translate)

    async def resident(self) -> tuple[Resident, ...]:
        """Return the models that the server says are in memory; none where it does not say."""
        try:
            return await self._models.list_residents()
        except EngineError:
            return ()

    async def check(self) -> None:
        """Return when the server answers."""
        try:
            await self._client.look(LIST)
        except CallMissingError:
            return  # a server without a list of models is one all the same
        except EngineUnavailableError:
            raise
        except EngineError as error:
            raise ServerAnswerError(error.what, where=error.where, hint=error.hint) from error

    async def release(self) -> None:
        """Unload every model, where the server has a way to; the others keep theirs until they end."""
        try:
            await self._models.unload_all()
        except EngineError as error:
            _log.warning("models_not_unloaded", url=self._client.url, error=error.what)

    async def can_unload(self) -> bool:
        """Whether the server says that it can unload a model."""
        return await self._models.can_unload()

    async def count_lanes(self) -> int | None:
        """Return how many requests the server does at once, where it says so."""
        return await self._lanes.count()

    async def list_models(self) -> tuple[HostedModel, ...]:
        """List what the server has, by name."""
        return await self._models.list_hosted()

    async def kill(self) -> None:
        """Drop the connection, which ends the request; the server itself is out of reach."""
        await self._client.drop()

    async def close(self) -> None:
        """Drop every connection for good."""
        await self._client.close()

    async def _write(self, inputs: OpenAiInputs, work: Work, report: Reporter) -> Produced:
        pictures = await asyncio.to_thread(_read_pictures, inputs, work)
        request = make_writing_request(inputs, work.model or "", pictures)
        where = self._client.url
        reply = Reply(
            report,
            program=where,
            max_tokens=inputs.max_tokens,
            refuse=partial(translate_event, where=where),
            clock=asyncio.get_running_loop().time,
        )
        note = partial(report.progress, None)
        async with self._client.stream_events(PATHS[inputs.call()], request, note=note) as events:
            async for event in events:
                reply.take(event)
        values = {**reply.list_values(), "first_token_s": reply.first_token_s}
        files = await write_answer(work.scratch, {"text.txt": reply.text, "thinking.txt": reply.thinking})
        return Produced(files=files, values=values)

    async def _embed(self, inputs: OpenAiInputs, work: Work, report: Reporter) -> Produced:
        async def embed(texts: list[str], note: Callable[[str], None]) -> Vectors:
            request = make_embedding_request(inputs, work.model or "", texts)
            return read_vectors(await ask(self._client, PATHS["embed"], request, note))

        texts = [inputs.input] if isinstance(inputs.input, str) else inputs.input or []
        return await embed_texts(texts, embed, model=work.model, scratch=work.scratch, report=report)


def _check_files(inputs: OpenAiInputs, work: Work) -> None:
    """Refuse a task whose inputs name files that it lacks. Raises: RequestRefusedError."""
    for name in inputs.list_files():
        if name not in work.files:
            hint = did_you_mean(name, work.files, otherwise=f"its files are: {', '.join(sorted(work.files)) or 'none'}")
            raise RequestRefusedError(f"the task has no file {name!r}", where="inputs.images", hint=hint)


def _read_pictures(inputs: OpenAiInputs, work: Work) -> dict[str, str]:
    pictures: dict[str, str] = {}
    for name in inputs.list_files():
        path = work.files[name]
        if path.stat().st_size > LARGEST_IMAGE:
            what = f"the image {name!r} is {path.stat().st_size} bytes, and at most {LARGEST_IMAGE} are sent"
            raise RequestRefusedError(what, where="inputs.images")
        pictures[name] = make_data_url(Path(name), path.read_bytes())
    return pictures


def build_openai(
    url: str,
    options: Mapping[str, Any],  # Any: JSON from the cluster file, checked here
    credentials: Credentials,
) -> OpenAi:
    """Return the adapter of one server. Raises: ProblemsError when `options` are wrong."""
    return OpenAi(url, options=read_options(OpenAiOptions, OPENAI.name, options), credentials=credentials)
