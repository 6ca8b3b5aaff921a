"""Prompts of this adapter that nothing waits for any more, until the instance has let go of them.

A node that computes in one long call (a decoder, a compilation, a kernel that hangs) does not see an interrupt before
it returns, so ending a prompt can take longer than an attempt waits. Until it is gone, everything that is sent to the
instance would queue behind it: the engine's check fails as long as that lasts, and the slot gets no task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from corral.engines.comfyui.errors import InstanceStuckError
from corral.engines.comfyui.prompts import Prompts

_log = structlog.get_logger(__name__)


class Leftovers:
    """The prompts that this adapter wants ended on one instance."""

    def __init__(self, prompts: Prompts, url: str, patience_s: float) -> None:
        """`url` names the instance in messages; `patience_s` is how long a check waits for a prompt to end."""
        self._prompts = prompts
        self._url = url
        self._patience_s = patience_s
        self._left: dict[str, int] = {}
        """The task of each prompt that is not gone yet."""
        self._endings: dict[str, asyncio.Task[None]] = {}

    def note(self, prompt_id: str, *, task: int) -> None:
        """Keep a prompt in mind that cannot be ended now; `require_none` does."""
        self._left[prompt_id] = task

    def keep(self, prompt_ids: Iterable[str]) -> None:
        """Leave prompts alone: an attempt takes them over."""
        for prompt_id in prompt_ids:
            self._left.pop(prompt_id, None)

    async def stop_all(self) -> None:
        """Ask the instance once to stop each of them, so that what is sent next does not wait for long."""
        for prompt_id in list(self._left):
            if await self._prompts.is_gone(prompt_id):
                self._left.pop(prompt_id, None)

    async def end(self, prompt_id: str, *, task: int) -> None:
        """End a prompt, for at most `cancel_s`; it goes on when the caller is cancelled meanwhile."""
        self.note(prompt_id, task=task)
        if prompt_id not in self._endings:
            self._endings[prompt_id] = asyncio.create_task(self._end(prompt_id), name=f"comfyui-ending-{prompt_id}")
        await asyncio.shield(self._endings[prompt_id])

    async def wait(self) -> None:
        """Return when no prompt is being ended any more."""
        if self._endings:
            await asyncio.wait(self._endings.values())

    async def require_none(self) -> None:
        """Look at each prompt that was left, and stop it again. Raises: InstanceStuckError while one is there."""
        for prompt_id, task in list(self._left.items()):
            if prompt_id in self._endings or not await self._prompts.cancel(prompt_id, within_s=self._patience_s):
                raise InstanceStuckError(
                    f"it still has the prompt {prompt_id} of task {task}, and does not stop it",
                    where=self._url,
                    hint="wait until the node that computes there has returned, or restart that ComfyUI",
                )
            self._left.pop(prompt_id, None)

    async def _end(self, prompt_id: str) -> None:
        try:
            if await self._prompts.cancel(prompt_id, may_arrive=True):
                self._left.pop(prompt_id, None)
            else:
                _log.warning("prompt_not_cancelled", url=self._url, prompt_id=prompt_id)
        finally:
            del self._endings[prompt_id]
