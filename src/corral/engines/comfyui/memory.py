"""The models that one instance holds in its GPU's memory, as far as they can be known from outside.

ComfyUI does not report which checkpoint is loaded. The last one that ran is kept, and dropped when the instance shows
that it no longer holds it: it does not answer, it forgot the prompt that loaded it (the history dies with the process),
or PyTorch has nothing allocated on the GPU. Models that other clients load are not seen.
"""

from __future__ import annotations

import asyncio

import structlog

from corral.engines.comfyui.client import ComfyClient, Timings
from corral.engines.comfyui.prompts import Prompts, Stage
from corral.narrowing import as_list, as_number, as_object
from corral.units import Bytes
from corral.work import EngineUnavailableError, Resident

_EMPTY = 64 * 2**20
"""Bytes that PyTorch can keep allocated with no model loaded: workspaces and small tensors."""

_log = structlog.get_logger(__name__)


class Memory:
    """The models of one instance."""

    def __init__(self, client: ComfyClient, prompts: Prompts, timings: Timings) -> None:
        self._client = client
        self._prompts = prompts
        self._timings = timings
        self._model: str | None = None
        self._prompt: str | None = None

    def remember(self, model: str | None, prompt_id: str) -> None:
        """Remember that a prompt with this model ended well; None when the workflow names none."""
        self._model, self._prompt = model, prompt_id

    async def resident(self) -> tuple[Resident, ...]:
        """Say what is resident; empty when unknown."""
        model, prompt_id = self._model, self._prompt
        if model is None or prompt_id is None:
            return ()
        try:
            used = await self._measure_allocated()
            known = (await self._prompts.find(prompt_id)).stage is not Stage.UNKNOWN
        except EngineUnavailableError:
            self._prompts.forget_version()
            used, known = None, False
        if not known or (used is not None and used < _EMPTY):
            self._forget(prompt_id)
            return ()
        return (Resident(model=model, memory=Bytes(used) if used is not None else None),)

    async def release(self) -> None:
        """Ask the instance to unload, and wait until PyTorch has let go.

        The request only sets flags that the instance reads between two prompts; so it can take until another client's
        prompt is done, and is then no longer waited for.
        """
        await self._client.post("/free", {"unload_models": True, "free_memory": True})
        now = asyncio.get_running_loop().time
        deadline = now() + self._timings.release_s
        pause = self._timings.retry_s
        while (used := await self._measure_allocated()) is not None and used >= _EMPTY:
            if now() >= deadline:
                _log.warning("memory_not_released", url=self._client.url, allocated=used)
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._timings.poll_s)
        self._model = self._prompt = None

    def _forget(self, prompt_id: str) -> None:
        if self._prompt == prompt_id:
            self._model = self._prompt = None

    async def _measure_allocated(self) -> int | None:
        """Bytes that PyTorch has allocated on the first device; None where that is not a GPU."""
        stats = as_object(await self._client.get("/system_stats", within_s=self._timings.check_s))
        device = as_object(next(iter(as_list(stats.get("devices"))), None))
        reserved, free = as_number(device.get("torch_vram_total")), as_number(device.get("torch_vram_free"))
        if device.get("type") == "cpu" or reserved is None or free is None:
            return None
        return max(int(reserved - free), 0)
