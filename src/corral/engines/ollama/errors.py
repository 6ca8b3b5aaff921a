"""The failures of an Ollama server, and what its answers mean to the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from corral.errors import Kind, Problem
from corral.work import EngineError, EngineUnavailableError, FailureScope, TaskInvalidError

LONGEST_QUOTE = 500
"""Characters of a server's message that are quoted."""


class ServerUnreachableError(EngineUnavailableError):
    """The server did not answer, or fell silent."""

    code = "ollama.unreachable"


class ServerAnswerError(EngineUnavailableError):
    """Something answered, but not the way Ollama does."""

    code = "ollama.bad_answer"


class ServerTooOldError(EngineUnavailableError):
    """The server's version lacks what this engine uses."""

    code = "ollama.too_old"


class AdapterClosedError(EngineUnavailableError):
    """The engine was closed; Corral is stopping, or the cluster file no longer has it."""

    code = "ollama.closed"


class ModelMissingError(EngineError):
    """The server does not have the model; another one might."""

    code = "ollama.model_missing"
    kind: ClassVar[Kind] = Kind.MISSING
    scope: ClassVar[FailureScope] = FailureScope.SLOT


class RequestRefusedError(TaskInvalidError):
    """The task's request cannot be fulfilled; carries every problem where there are several."""

    code = "ollama.refused"

    def __init__(
        self, what: str, *, where: str | None = None, hint: str | None = None, problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self._problems = tuple(problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self._problems or super().problems


class ServerBusyError(EngineError):
    """The server's own queue is full."""

    code = "ollama.busy"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


class ServerOutOfMemoryError(EngineError):
    """The model does not fit into what memory the server has left."""

    code = "ollama.out_of_memory"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


class GenerationFailedError(EngineError):
    """The server failed while it worked on the request."""

    code = "ollama.failed"


class AttemptOverdueError(EngineError):
    """The answer was not complete within the attempt's time."""

    code = "ollama.overdue"


class OutputUnwritableError(EngineError):
    """An output could not be written on this machine."""

    code = "ollama.output_unwritable"


def translate_refusal(status: int, message: str, *, model: str | None, where: str) -> EngineError:
    """Translate an answer that is not 200; `message` is Ollama's `error`, or the start of any other body."""
    text = shorten(message) or "no message"
    match status:
        case 404 if model and "not found" in text and "page not found" not in text:
            return ModelMissingError(text, where=where, hint=f"run `ollama pull {model}` on that server")
        case 400:
            return RequestRefusedError(text, where=where)
        case 503:
            hint = "raise OLLAMA_MAX_QUEUE, or give the server less work from outside of Corral"
            return ServerBusyError(f"the server's queue is full: {text}", where=where, hint=hint)
        case 499 | 500 | 502 | 504:
            return translate_failure(text, where=where)
        case _:
            hint = "check that the engine's url is that of an Ollama server"
            return ServerAnswerError(f"the server answered {status}: {text}", where=where, hint=hint)


def translate_failure(message: str, *, where: str) -> EngineError:
    """Translate an error that a server met while it worked, in whatever form it reported it."""
    text = shorten(message)
    lowered = text.lower()
    if "out of memory" in lowered or "more system memory" in lowered or "cudamalloc failed" in lowered:
        hint = "use a smaller model or context, or free memory on that server"
        return ServerOutOfMemoryError(text, where=where, hint=hint)
    return GenerationFailedError(text, where=where)


def shorten(text: str) -> str:
    """Bound a foreign message to what a person reads, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_QUOTE else line[: LONGEST_QUOTE - 1] + "…"
