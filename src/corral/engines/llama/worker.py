"""Writes text with llama.cpp through `xllamacpp`: `llama`.

The library runs llama.cpp's own server inside this process, which applies the chat template of the model (checked in
the tests: the rendered prompt holds the template's marks). That server insists on an HTTP listener; it gets a socket in
a private folder that is removed as soon as it listens, and a random key, so that no other program can reach it.

Belongs here: one model at a time, chat in, text out.
Does not belong here: prompts, other llama.cpp programs.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import xllamacpp

from corral.engines.llama.chat import Reply, make_chat_request
from corral.engines.worker.job import Answer, Job, Talk, WorkerSettings
from corral.units import Bytes
from corral.work import EngineError, OutputFile, TaskInvalidError

_MAGIC = b"GGUF"
_library: Any = xllamacpp  # a compiled module without type stubs


class ChatServer(Protocol):
    """The part of the library's server that is used."""

    def handle_chat_completions(
        self,
        request: Mapping[str, Any],  # Any: JSON
        take: Callable[[dict[str, Any]], bool],
    ) -> object:
        """Stream the answer to `take` until it returns True."""
        ...


class Llama:
    """The engine inside its worker."""

    has_children = False

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._model: Path | None = None
        self._server: ChatServer | None = None

    def run(self, job: Job, talk: Talk) -> Answer:
        """Answer one prompt or conversation. Raises: EngineError, Cancelled."""
        server = self._ensure_loaded(job, talk)
        reply = Reply(talk, max_tokens=job.inputs["max_tokens"])
        try:
            server.handle_chat_completions(make_chat_request(job.inputs), reply.take)
        except ValueError as error:  # the request cannot be rendered: its messages, its schema
            raise TaskInvalidError(f"llama.cpp refused the request: {error}") from error
        talk.check()
        reply.raise_error()
        path = job.scratch / "text.txt"
        path.write_text(reply.text, encoding="utf-8")
        return Answer(
            files=(OutputFile(name="text.txt", path=path, media_type="text/plain; charset=utf-8"),),
            values=reply.list_values(),
        )

    def stop(self) -> None:
        """Nothing: it starts no programs."""

    def _ensure_loaded(self, job: Job, talk: Talk) -> ChatServer:
        if self._server is None or self._model != job.model_path:
            self._server = self._model = None  # frees the memory before the next model takes it
            talk.report_residents({})
            talk.report_progress(None, f"loading {job.model}")
            self._server = load_server(job.model_path, self._settings)
            self._model = job.model_path
        talk.report_residents(
            {job.model: Bytes(job.model_path.stat().st_size)}
        )  # it can have another name in each task
        talk.check()
        return self._server


def load_server(path: Path, settings: WorkerSettings) -> ChatServer:
    """Load a model. Raises: TaskInvalidError when the file is none, EngineError when llama.cpp cannot."""
    _check_file(path)
    with tempfile.TemporaryDirectory(prefix="corral-") as folder:
        try:
            return _library.Server(_make_parameters(path, settings, Path(folder) / "s.sock"))
        except RuntimeError as error:
            raise EngineError(
                f"llama.cpp could not load {path.name!r}: {error}",
                hint="look into the worker's log; a smaller model or `contextSize` needs less memory",
            ) from error


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise TaskInvalidError(f"the model file {path.name!r} cannot be read: {error.strerror}") from error
    if magic != _MAGIC:
        raise TaskInvalidError(
            f"{path.name!r} is not a GGUF file", hint="pull the model again with `corral models pull`"
        )


def _make_parameters(path: Path, settings: WorkerSettings, socket: Path) -> object:
    parameters = _library.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = settings.options["context_size"]
    parameters.n_parallel = 1
    parameters.n_gpu_layers = settings.options["gpu_layers"] if settings.gpu else 0
    parameters.cpuparams.n_threads = settings.threads
    parameters.cpuparams_batch.n_threads = settings.threads
    parameters.hostnames = [str(socket)]
    parameters.api_keys = [secrets.token_hex(32)]
    parameters.cache_ram_mib = 0  # prompts of one queue rarely repeat; 8 GiB of the host's memory is its default
    parameters.ui = False
    parameters.warmup = False  # the first answer warms up as well, and a cancel is noticed while it is written
    return parameters
