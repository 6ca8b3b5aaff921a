"""Errors in Ollama's shape: `{"error": text}`, in a stream as its last line."""

from __future__ import annotations

from pydantic_core import from_json

from corral.errors import CorralError
from corral.gateway.ollama.replies import read_error, write_line
from corral.gateway.passing import UpstreamRefusedError
from corral.gateway.statuses import find_status
from corral.narrowing import as_object
from corral.slots.guests import GuestWait
from corral.work import Json


class OllamaShape:
    """How this protocol writes what is not an answer."""

    def write_error(self, error: CorralError) -> tuple[int, bytes]:
        """Return status and JSON of an error."""
        return find_status(error), write_line(_describe(error))

    def write_late_error(self, error: CorralError) -> bytes:
        """Return an error as the end of a stream."""
        return write_line(_describe(error))

    def write_wait(self, wait: GuestWait) -> bytes:
        """Return nothing: clients take every line for a piece of the answer."""
        del wait
        return b""

    def write_place(self, place: str) -> bytes:
        """Return nothing, as above."""
        del place
        return b""


def _describe(error: CorralError) -> dict[str, Json]:
    if isinstance(error, UpstreamRefusedError):
        return {"error": _read_refusal(error)}
    texts = [f"{problem.what} ({problem.hint})" if problem.hint else problem.what for problem in error.problems]
    return {"error": "; ".join(texts)}


def _read_refusal(error: UpstreamRefusedError) -> str:
    try:
        answer: Json = from_json(error.body)
    except ValueError:
        return error.body.decode(errors="replace").strip()[:500] or error.what
    return read_error(as_object(answer)) or error.what
