"""An owner's queue and history, fast enough for clients that read all of it every second: an entry is made once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from corral.gateway.comfyui.shapes import write_history, write_item
from corral.gateway.comfyui.workshop import ENDED, ListedPrompt, Stage, StoredPrompt, Workshop

MOST_ENTRIES = 200
"""Of one answer: ComfyUI itself keeps 10,000 in memory, and answers with all."""
KEPT_BYTES = 64 * 2**20
"""Of entries as JSON, of all owners, in each of the two lists."""
_READ_AT_ONCE = 200
"""Prompts read from the database at once: each has its workflow."""


class Queue:
    """The items of `/queue`."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._items = _Written(workshop, write_item)

    async def list_items(self, owner: str) -> bytes:
        """Return all that runs and waits of an owner, what waits in the order in which it goes."""
        prompts = await self._workshop.list_open(owner)
        running = await self._items.list_parts(_choose(prompts, Stage.RUNNING))
        pending = await self._items.list_parts(_choose(prompts, Stage.PENDING))
        return b'{"queue_running":[%s],"queue_pending":[%s]}' % (b",".join(running), b",".join(pending))


class History:
    """The entries of ended prompts."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._entries = _Written(workshop, write_history)

    async def list_entries(self, owner: str, query: Mapping[str, str]) -> bytes:
        """Return the newest entries, oldest first, or those from `offset` on."""
        most, offset = _read_whole(query.get("max_items")), _read_whole(query.get("offset"))
        newest = await self._workshop.list_ended(owner, MOST_ENTRIES)
        tasks = [prompt.task for prompt in reversed(newest)]
        if offset is not None and offset >= 0:
            tasks = tasks[offset:] if most is None or most < 0 else tasks[offset : offset + most]
        elif most is not None and most >= 0:
            tasks = tasks[max(0, len(tasks) - most) :]
        return b"{" + b",".join(await self._entries.list_parts(tasks)) + b"}"

    async def find_entry(self, owner: str, id: str) -> bytes:
        """Return one entry under its id; an empty object for a prompt that is unknown or has not ended."""
        prompt = await self._workshop.find(owner, id)
        if prompt is None or prompt.stage not in ENDED:
            return b"{}"
        return b"{" + self._entries.keep(prompt) + b"}"


class _Written:
    """Parts of answers as JSON, by task; what is written of a prompt never changes."""

    def __init__(self, workshop: Workshop, write: Callable[[StoredPrompt], bytes]) -> None:
        self._workshop = workshop
        self._write = write
        self._parts: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0

    async def list_parts(self, tasks: Sequence[int]) -> list[bytes]:
        """Return the parts of those of these tasks that are prompts, in their order."""
        parts = {task: self._parts[task] for task in tasks if task in self._parts}
        unknown = iter([task for task in tasks if task not in parts])
        while some := [*islice(unknown, _READ_AT_ONCE)]:
            for prompt in await self._workshop.read(some):
                parts[prompt.task] = self.keep(prompt)
        return [parts[task] for task in tasks if task in parts]

    def keep(self, prompt: StoredPrompt) -> bytes:
        """Write a prompt where that was not done, keep it, and return it."""
        part = self._parts.get(prompt.task)
        if part is None:
            part = self._parts[prompt.task] = self._write(prompt)
            self._bytes += len(part)
            while self._bytes > KEPT_BYTES:
                _, oldest = self._parts.popitem(last=False)
                self._bytes -= len(oldest)
        return part


def _choose(prompts: Sequence[ListedPrompt], stage: Stage) -> list[int]:
    return [prompt.task for prompt in prompts if prompt.stage is stage]


def _read_whole(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
