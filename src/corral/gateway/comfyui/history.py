"""An owner's history, fast enough for clients that read all of it every second: an entry is made once and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from corral.gateway.comfyui.shapes import write_history
from corral.gateway.comfyui.workshop import ENDED, StoredPrompt, Workshop

MOST_ENTRIES = 200
"""Of one answer: ComfyUI itself keeps 10,000 in memory, and answers with all."""
KEPT_BYTES = 64 * 2**20
"""Of entries as JSON, of all owners."""


class History:
    """The entries of ended prompts, as JSON; they never change."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._entries: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0

    async def list_entries(self, owner: str, query: Mapping[str, str]) -> bytes:
        """Return the newest entries, oldest first, or those from `offset` on."""
        most, offset = _read_whole(query.get("max_items")), _read_whole(query.get("offset"))
        newest = await self._workshop.list_ended(owner, MOST_ENTRIES)
        tasks = [*reversed(newest)]
        if offset is not None and offset >= 0:
            tasks = tasks[offset:] if most is None or most < 0 else tasks[offset : offset + most]
        elif most is not None and most >= 0:
            tasks = tasks[max(0, len(tasks) - most) :]
        return b"{" + b",".join(await self._write(tasks)) + b"}"

    async def find_entry(self, owner: str, id: str) -> bytes:
        """Return one entry under its id; an empty object for a prompt that is unknown or has not ended."""
        prompt = await self._workshop.find(owner, id)
        if prompt is None or prompt.stage not in ENDED:
            return b"{}"
        return b"{" + self._keep(prompt) + b"}"

    async def read_prompts(self, owner: str) -> Sequence[StoredPrompt]:
        """Return the prompts of the history, oldest first."""
        return await self._workshop.read(await self._workshop.list_ended(owner, MOST_ENTRIES))

    async def _write(self, tasks: Sequence[int]) -> list[bytes]:
        unknown = [task for task in tasks if task not in self._entries]
        new = {prompt.task: self._keep(prompt) for prompt in await self._workshop.read(unknown)} if unknown else {}
        entries = {**new, **{task: self._entries[task] for task in tasks if task in self._entries}}
        return [entries[task] for task in tasks if task in entries]

    def _keep(self, prompt: StoredPrompt) -> bytes:
        entry = self._entries.get(prompt.task)
        if entry is None:
            entry = self._entries[prompt.task] = write_history(prompt)
            self._bytes += len(entry)
            while self._bytes > KEPT_BYTES:
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= len(oldest)
        return entry


def _read_whole(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
