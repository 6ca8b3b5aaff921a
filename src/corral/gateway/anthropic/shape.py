"""Errors in Anthropic's shape: `{"type": "error", "error": {"type", "message"}}`, in a stream as an event `error`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from pydantic_core import from_json

from corral.errors import CorralError
from corral.gateway.passing import UpstreamRefusedError
from corral.gateway.statuses import find_status
from corral.narrowing import as_object, as_text
from corral.slots.guests import GuestWait
from corral.work import Json

_TYPES: Mapping[int, str] = MappingProxyType(
    {
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
    }
)


class AnthropicShape:
    """How this protocol writes what is not an answer."""

    def write_error(self, error: CorralError) -> tuple[int, bytes]:
        """Return status and JSON of an error."""
        status = find_status(error)
        return status, _dump(_describe(error, status))

    def write_late_error(self, error: CorralError) -> bytes:
        """Return an error as the end of a stream."""
        return b"event: error\ndata: " + _dump(_describe(error, find_status(error))) + b"\n\n"

    def write_wait(self, wait: GuestWait) -> bytes:
        """Return the event by which this protocol keeps a connection alive."""
        del wait
        return b'event: ping\ndata: {"type": "ping"}\n\n'

    def write_place(self, place: str) -> bytes:
        """Return nothing: this protocol has no event for it."""
        del place
        return b""


def _describe(error: CorralError, status: int) -> dict[str, Json]:
    kind, message = "", ""
    if isinstance(error, UpstreamRefusedError):
        kind, message = _read_refusal(error.body)
    if not message:
        texts = [f"{problem.what} ({problem.hint})" if problem.hint else problem.what for problem in error.problems]
        message = "; ".join(texts)
    otherwise = "api_error" if status >= 500 else "invalid_request_error"
    return {"type": "error", "error": {"type": kind or _TYPES.get(status, otherwise), "message": message}}


def _read_refusal(body: bytes) -> tuple[str, str]:
    """Return the type of an error, where the server writes Anthropic's, and its text in whichever shape it has."""
    try:
        answer: Json = from_json(body)
    except ValueError:
        return "", body.decode(errors="replace").strip()[:500]
    facts = as_object(answer)
    error = facts.get("error")
    kind = as_text(as_object(error).get("type")) if facts.get("type") == "error" else ""
    return kind, as_text(as_object(error).get("message")) or as_text(error) or as_text(facts.get("detail"))


def _dump(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
