"""Whether an Ollama server answers two requests at once, measured: it says it nowhere.

Its number is `OLLAMA_NUM_PARALLEL`, 1 where that is not set (`envconfig/config.go` of Ollama 0.32.15), and 1 for some
architectures whatever is set (`server/sched.go`). With 1, the second request waits until the first is answered.
"""

from __future__ import annotations

import asyncio

from corral.engines.http.client import ServerClient
from corral.engines.ollama.held import HeldModels
from corral.engines.ollama.options import write_keep_alive
from corral.engines.ollama.protocol import PATHS
from corral.narrowing import as_number
from corral.work import Json

_FIRST_TOKENS = 64
"""Of the first request; the second is read and begun meanwhile."""
_FEWEST_TOKENS = 16
"""A first answer that ended sooner proves nothing."""
_TRIES = 2
"""Others can use the server, too: one wait behind the first answer is not believed."""
_PROMPT = " ".join(map(str, range(1, 33)))


class Overlap:
    """Two requests to one server, with a model that it has in memory."""

    def __init__(self, client: ServerClient, held: HeldModels, keep_alive: float | str | None) -> None:
        self._client = client
        self._held = held
        self._keep_alive = write_keep_alive(keep_alive)

    async def measure(self) -> bool | None:
        """Return whether the second answer began before the first ended; None without a model in memory that writes.

        Nothing is loaded for it. Raises: EngineError.
        """
        model = await self._find_model()
        if model is None:
            return None
        answers = [await self._try(model) for _ in range(_TRIES)]
        return True if True in answers else None if None in answers else False

    async def _find_model(self) -> str | None:
        """Find a model in memory that writes text; those that only embed do not."""
        for name in await self._held.list_loaded():
            shown = await self._client.look("/api/show", {"model": name})
            if "completion" in (shown.get("capabilities") or ["completion"]):
                return name
        return None

    async def _try(self, model: str) -> bool | None:
        began = asyncio.Event()
        async with asyncio.TaskGroup() as both:
            first = both.create_task(self._write(model, _FIRST_TOKENS, began))
            waiting = both.create_task(began.wait())
            await asyncio.wait({first, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            second_began = asyncio.Event()
            second = both.create_task(self._write(model, 1, second_began))
            second_waiting = both.create_task(second_began.wait())
            await asyncio.wait({first, second_waiting}, return_when=asyncio.FIRST_COMPLETED)
            overlaps = second_began.is_set() and not first.done()
            second_waiting.cancel()
            written = await first
            await second
        return overlaps if written >= _FEWEST_TOKENS else None

    async def _write(self, model: str, tokens: int, began: asyncio.Event) -> int:
        """Let it write; return how many tokens it wrote."""
        context = self._held.find_context(model)
        options = {"num_predict": tokens, "temperature": 0, **({} if context is None else {"num_ctx": context})}
        body: dict[str, Json] = {"model": model, "prompt": _PROMPT, "raw": True, "stream": True, "options": options}
        if self._keep_alive is not None:
            body["keep_alive"] = self._keep_alive
        written = 0
        async with self._client.stream(PATHS["generate"], body, note=lambda _: None, stall_s=None) as lines:
            async for line in lines:
                began.set()
                written = int(as_number(line.get("eval_count")) or written)
        return written
