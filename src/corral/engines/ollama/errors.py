"""The failures of an Ollama server, and what its answers mean to the queue."""

from __future__ import annotations

import re

from corral.engines.http.errors import (
    ModelMissingError,
    Refusal,
    RequestRefusedError,
    ServerAnswerError,
    ServerBusyError,
    shorten,
    translate_failure,
    translate_gate,
)
from corral.work import EngineError, EngineUnavailableError


class ServerTooOldError(EngineUnavailableError):
    """The server's version lacks what this engine uses."""

    code = "ollama.too_old"


class PullFailedError(EngineError):
    """The server did not get the model."""

    code = "ollama.pull_failed"


def translate_refusal(refusal: Refusal) -> EngineError:
    """Translate an answer that is not 200."""
    if (at_the_gate := translate_gate(refusal)) is not None:
        return at_the_gate
    text, where = shorten(refusal.message) or "no message", refusal.where
    match refusal.status:
        case 404 if refusal.model and "not found" in text and "page not found" not in text:
            return ModelMissingError(text, where=where, hint=f"run `ollama pull {refusal.model}` on that server")
        case 400 | 413:
            return RequestRefusedError(text, where=where)
        case 503:
            hint = "raise OLLAMA_MAX_QUEUE, or give the server less work from outside of Corral"
            return ServerBusyError(f"the server's queue is full: {text}", where=where, hint=hint)
        case 499 | 500:
            return translate_error(text, where=where)
        case _:
            hint = "check that the engine's url is that of an Ollama server"
            return ServerAnswerError(f"the server answered {refusal.status}: {text}", where=where, hint=hint)


_WRONG_REQUEST = re.compile(r'^option "|^invalid format: |^invalid JSON schema in format|exceeds the context length$')
"""Messages of Ollama 0.17.4 about a request that no further try makes right, although their status is 500."""


def translate_error(message: str, *, where: str) -> EngineError:
    """Translate an error that a server met while it worked, in whatever form it reported it."""
    text = shorten(message)
    if _WRONG_REQUEST.search(text):
        return RequestRefusedError(text, where=where)
    return translate_failure(text, where=where)
