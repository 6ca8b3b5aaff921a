"""A model is pulled by the server itself; its words about it arrive line by line."""

from __future__ import annotations

from collections.abc import Callable

from corral.engines.http.client import ServerClient
from corral.engines.http.errors import shorten
from corral.engines.ollama.errors import PullFailedError
from corral.narrowing import as_number, as_text
from corral.units import Bytes
from corral.work import Json, PullStep

_LAST = "success"


async def pull(client: ServerClient, model: str, report: Callable[[PullStep], None]) -> None:
    """Let the server pull a model, and report each step. Raises: EngineError."""
    words = ""
    body: dict[str, Json] = {"model": model, "stream": True}
    # A large file is verified for minutes, without a word.
    async with client.stream("/api/pull", body, note=lambda text: report(PullStep(words=text)), stall_s=None) as lines:
        async for line in lines:
            if "error" in line:
                raise _fail(shorten(as_text(line["error"])) or "the server does not say why", model, client.url)
            words = as_text(line.get("status"))
            report(PullStep(words=words, done=_read_size(line.get("completed")), total=_read_size(line.get("total"))))
    if words != _LAST:
        raise _fail(f"the pull broke off after {words!r}", model, client.url)


def _fail(what: str, model: str, where: str) -> PullFailedError:
    hint = "check the name at ollama.com/library, and that the server reaches the internet"
    return PullFailedError(f"{model} was not pulled: {what}", where=where, hint=hint)


def _read_size(value: Json) -> Bytes | None:
    size = as_number(value)
    return None if size is None else Bytes(int(size))
