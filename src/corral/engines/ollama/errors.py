"""The failures of an Ollama server, and what its answers mean to the queue."""

from __future__ import annotations

import html
import re
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
    """The server does not have the model; another one might, or it can be pulled."""

    code = "ollama.model_missing"
    kind: ClassVar[Kind] = Kind.MISSING
    scope: ClassVar[FailureScope] = FailureScope.WAIT


class PullFailedError(EngineError):
    """The server did not get the model."""

    code = "ollama.pull_failed"


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
    scope: ClassVar[FailureScope] = FailureScope.WAIT


class ServerOutOfMemoryError(EngineError):
    """The model does not fit into what memory the server has left."""

    code = "ollama.out_of_memory"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


class GenerationFailedError(EngineError):
    """The server failed while it worked on the request."""

    code = "ollama.failed"


class OutputUnwritableError(EngineError):
    """An output could not be written on this machine."""

    code = "ollama.output_unwritable"


def translate_refusal(status: int, message: str, *, model: str, where: str) -> EngineError:
    """Translate an answer that is not 200; `message` is Ollama's `error`, or what `describe_page` makes of a page."""
    text = shorten(message) or "no message"
    match status:
        case 404 if model and "not found" in text and "page not found" not in text:
            return ModelMissingError(text, where=where, hint=f"run `ollama pull {model}` on that server")
        case 400 | 413:
            return RequestRefusedError(text, where=where)
        case 401 | 403:
            hint = "set `tokenFrom` or `headersFrom` of this instance in the cluster file"
            return ServerAnswerError(f"the server refuses Corral with {status}: {text}", where=where, hint=hint)
        case 503 if not is_page(message):
            hint = "raise OLLAMA_MAX_QUEUE, or give the server less work from outside of Corral"
            return ServerBusyError(f"the server's queue is full: {text}", where=where, hint=hint)
        case 502 | 503 | 504:
            hint = "look at the proxy in front of the server, and at the server behind it"
            return ServerUnreachableError(f"the server is not reached: {status}, {text}", where=where, hint=hint)
        case 499 | 500:
            return translate_failure(text, where=where)
        case _:
            hint = "check that the engine's url is that of an Ollama server"
            return ServerAnswerError(f"the server answered {status}: {text}", where=where, hint=hint)


_WRONG_REQUEST = re.compile(r'^option "|^invalid format: |^invalid JSON schema in format|exceeds the context length$')
"""Messages of Ollama 0.17.4 about a request that no further try makes right, although their status is 500."""


def translate_failure(message: str, *, where: str) -> EngineError:
    """Translate an error that a server met while it worked, in whatever form it reported it."""
    text = shorten(message)
    lowered = text.lower()
    if _WRONG_REQUEST.search(text):
        return RequestRefusedError(text, where=where)
    if "out of memory" in lowered or "more system memory" in lowered or "cudamalloc failed" in lowered:
        hint = "use a smaller model or context, or free memory on that server"
        return ServerOutOfMemoryError(text, where=where, hint=hint)
    return GenerationFailedError(text, where=where)


def shorten(text: str) -> str:
    """Bound a foreign message to what a person reads, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_QUOTE else line[: LONGEST_QUOTE - 1] + "…"


_PAGE = re.compile(r"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def is_page(text: str) -> bool:
    """Whether a message is a page for browsers, as proxies answer, or what `describe_page` made of one."""
    return bool(_PAGE.match(text)) or text.startswith(_A_PAGE)


_A_PAGE = "a web page"


def describe_page(text: str) -> str:
    """Describe a page for browsers by its title, the one line in it for people; other text stays as it is."""
    if not _PAGE.match(text):
        return text
    title = _TITLE.search(text)
    named = shorten(html.unescape(title[1])) if title else ""
    return f"{_A_PAGE} with the title {named!r}" if named else _A_PAGE
