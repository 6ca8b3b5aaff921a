"""Errors and waits in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.

llama-server's errors have a number as `code` and no `param` (b11434), Ollama's a `code` that is null for an unknown
model (0.17.4), some servers' a text alone: clients that match on these fields see OpenAI's here.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic_core import from_json

from corral.errors import CorralError
from corral.gateway.passing import UpstreamRefusedError
from corral.gateway.statuses import find_status
from corral.narrowing import as_object
from corral.slots.guests import GuestWait
from corral.work import Json

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {
    "model.unknown": "model_not_found",
    "auth.not_authenticated": "invalid_api_key",
    "guest.late": "slots_busy",
    "guest.refused": "no_slot",
}
WaitStyle = Literal["comments", "reasoning"]


class OpenAiShape:
    """How this protocol writes what is not an answer; `waits` is the client's wish for lines about its wait."""

    def __init__(self, waits: WaitStyle = "comments", model: str = "") -> None:
        self._waits = waits
        self._model = model

    def write_error(self, error: CorralError) -> tuple[int, bytes]:
        """Return status and JSON of an error."""
        return find_status(error), _dump({"error": _describe(error)})

    def write_late_error(self, error: CorralError) -> bytes:
        """Return an error as the end of a stream; clients raise it, and those that wait for `[DONE]` get it."""
        return b"data: " + _dump({"error": _describe(error)}) + b"\n\ndata: [DONE]\n\n"

    def write_wait(self, wait: GuestWait) -> bytes:
        """Return a comment, which clients skip, or a piece of reasoning, which they show."""
        words = describe_wait(wait)
        if self._waits == "comments":
            return f": {words}\n\n".encode()
        delta = {"role": "assistant", "reasoning_content": f"{words}\n"}
        chunk = {"id": "chatcmpl-wait", "object": "chat.completion.chunk", "created": 0, "model": self._model}
        return b"data: " + _dump({**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}) + b"\n\n"

    def write_place(self, place: str) -> bytes:
        """Return a comment; among reasoning, which people read, a slot would be noise."""
        return f": runs on {place}\n\n".encode() if self._waits == "comments" else b""


def describe_wait(wait: GuestWait) -> str:
    """Describe a wait in one line: `2 ahead, about 20 s: every slot of ollama is busy`."""
    ahead = "" if not wait.ahead else f"{wait.ahead} ahead"
    expected = "" if wait.expected_s is None else f"about {wait.expected_s:.0f} s"
    facts = ", ".join(filter(None, (ahead, expected))) or "waiting"
    return " ".join(f"{facts}: {wait.because}".split())


def _describe(error: CorralError) -> dict[str, Json]:
    if isinstance(error, UpstreamRefusedError):
        return repair_error(error.status, error.body, otherwise=error.what)
    status = find_status(error)
    problems = error.problems
    texts = [f"{problem.what} ({problem.hint})" if problem.hint else problem.what for problem in problems]
    param = problems[0].where if status in (400, 404, 413) else None
    return {
        "message": "; ".join(texts),
        "type": _find_type(status),
        "param": param,
        "code": _CODES.get(error.code, error.code),
    }


def repair_error(status: int, body: bytes, *, otherwise: str) -> dict[str, Json]:
    """Return a server's error as OpenAI writes it; `otherwise` is the message where the body has none."""
    try:
        answer: Json = from_json(body)
    except ValueError:
        answer = body.decode(errors="replace").strip()[:500]
    error = as_object(answer).get("error", answer)
    facts = as_object(error) or {"message": error}
    message = facts.get("message") or facts.get("detail")
    if not isinstance(message, str) or not message:
        message = otherwise if not message else json.dumps(message)
    kind, code, param = facts.get("type"), facts.get("code"), facts.get("param")
    if status == 404 and "model" in message.lower():
        code = "model_not_found"
    return {
        "message": message,
        "type": kind if isinstance(kind, str) and kind else _find_type(status),
        "param": param if isinstance(param, str) else None,
        "code": code if isinstance(code, str) else None,
    }


def _find_type(status: int) -> str:
    if status >= 500:
        return "server_error"
    return _TYPES.get(status, "invalid_request_error")


def _dump(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
