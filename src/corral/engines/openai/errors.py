"""The refusals of servers that speak OpenAI's API, and what they mean to the queue.

Each server has its own status for the same thing; the texts are those of vLLM, llama-server (b11434), SGLang, Speaches
(06120fb), LM Studio and stable-diffusion.cpp (0137f16).
"""

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
from corral.engines.http.reading import find_message
from corral.narrowing import as_number, as_object
from corral.work import EngineError, Json, SlotLacksError


class CallMissingError(SlotLacksError):
    """The server does not do what the task asks for; another one might."""

    code = "openai.call_missing"


_NO_MODEL = re.compile(
    r"\bmodel\b.*(?:does not exist|not found|not installed|no such|not loaded)|no model.*found", re.IGNORECASE
)
_NO_CALL = re.compile(r"does not support|unexpected endpoint|method not allowed", re.IGNORECASE)
_WRONG_REQUEST = re.compile(r"is not supported|not support images|exceeds? the .*context|invalid", re.IGNORECASE)
"""Of servers that report what is wrong with a request with a status of 500."""


def translate_refusal(refusal: Refusal) -> EngineError:
    """Translate an answer that is not 200."""
    if (at_the_gate := translate_gate(refusal)) is not None:
        return at_the_gate
    text, where = shorten(refusal.message) or "no message", refusal.where
    match refusal.status:
        case 404 if _NO_MODEL.search(text):
            hint = "install it there, or name one of those that `corral models list --on all` shows"
            return ModelMissingError(text, where=where, hint=hint)
        case 404 | 405 | 501:
            hint = "name a model of a server that does it"
            return CallMissingError(f"the server does not do {refusal.path}: {text}", where=where, hint=hint)
        case 400 | 413 | 415 | 422:
            return RequestRefusedError(text, where=where)
        case 429 | 503:
            hint = "give the server less work from outside of Corral, or wait until it has loaded its model"
            return ServerBusyError(f"the server is busy: {text}", where=where, hint=hint)
        case status if status >= 500:
            return _translate_failure(text, where)
        case status:
            hint = "check that the engine's url is that of a server that speaks OpenAI's API"
            return ServerAnswerError(f"the server answered {status}: {text}", where=where, hint=hint)


def translate_event(event: dict[str, Json], *, where: str) -> EngineError:
    """Translate an error that comes in place of an answer, or in its midst."""
    text = shorten(find_message(event)) or "an error without a message"
    code = as_number(as_object(event.get("error")).get("code"))
    if _NO_CALL.search(text):
        return CallMissingError(text, where=where)
    if code is not None and 400 <= code < 500:
        return RequestRefusedError(text, where=where)
    return _translate_failure(text, where)


def _translate_failure(text: str, where: str) -> EngineError:
    if _WRONG_REQUEST.search(text):
        return RequestRefusedError(text, where=where)
    return translate_failure(text, where=where)
