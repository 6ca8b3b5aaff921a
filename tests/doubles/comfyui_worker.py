"""The part of the ComfyUI double that works: one queue, one worker, history and files in memory.

Stands for `PromptQueue` and `PromptExecutor` of ComfyUI; what was taken from where, and what was not checked, says
`doubles.comfyui`. Nodes take no time but the pace that a test sets with `hold` and `proceed`.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from doubles.comfyui_nodes import NODES, picture_of, upstream

Json = Any


class _InterruptedError(Exception):
    """The running prompt was interrupted."""


class _NodeError(Exception):
    """A node failed; the test said how."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass
class Faults:
    """What goes wrong from now on; a test sets these while the double runs."""

    lose_answer: str | None = None
    """The next accepted prompt's answer is lost: `kept` (the connection breaks) or `died` (the queue is lost too)."""
    hold_answers: asyncio.Event | None = None
    """Every submission waits for this event before it is looked at."""
    refuse_submission: Json = None
    """A body to answer every submission with, as 400."""
    submission_status: int = 400
    node_error: tuple[str, str, str] | None = None
    """(class, exception type, message): nodes of this class fail."""
    deaf: bool = False
    """Interrupts do nothing: the instance hangs in a kernel."""
    refuse_sockets: bool = False
    break_downloads: int = 0
    """So many downloads break off half-way."""
    lose_files: bool = False
    """`/view` knows none of the outputs."""
    silent: bool = False
    """Every request but a WebSocket waits for ever."""
    latency_s: float = 0
    """Every request is looked at this much later: the instance is far away."""


@dataclass(order=True)
class Item:
    number: float
    order: int
    prompt_id: str = field(compare=False)
    prompt: Json = field(compare=False)
    extra: Json = field(compare=False)
    outputs: list[str] = field(compare=False)

    def listed(self) -> list[Json]:
        return [self.number, self.prompt_id, self.prompt, self.extra, self.outputs]


class ComfyWorker:
    """The queue and the worker; who serves it says its events to the clients."""

    def __init__(self, *, seconds_per_image: float) -> None:
        self.faults = Faults()
        self.files: dict[tuple[str, str, str], bytes] = {}
        """Content by (type, subfolder, filename); survives a restart."""
        self.executed: list[str] = []
        """Ids of all prompts whose execution began."""
        self._seconds_per_image = seconds_per_image
        self._changed = asyncio.Condition()
        self._held = False
        self._hold_after: str | None = None
        self._counter = 0
        self._clear()

    def _clear(self) -> None:
        """Lose what a process loses when it dies."""
        self._queue: list[Item] = []
        self._current: Item | None = None
        self.history: dict[str, Json] = {}
        self.loaded = False
        self._flags: set[str] = set()
        self._interrupt = False

    async def _tell(self, sid: str | None, event: str, data: Json) -> None:
        """Say something to one client, or to all of them."""
        raise NotImplementedError

    async def _show(self, item: Item, node_id: str, image: bytes) -> None:
        """Show a preview to the client that submitted the prompt."""
        raise NotImplementedError

    def hold(self) -> None:
        """Stop executing before the next step."""
        self._held = True

    def hold_after(self, prompt_id: str) -> None:
        """Stop executing again once this prompt has ended."""
        self._hold_after = prompt_id

    async def proceed(self) -> None:
        """Execute on."""
        self._held = False
        await self._notify()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to become true of the double; a test that waits in vain fails by its own time limit."""
        async with self._changed, asyncio.timeout(20):
            await self._changed.wait_for(condition)

    @property
    def pending(self) -> list[str]:
        """Ids that wait."""
        return [item.prompt_id for item in self._queue]

    @property
    def running(self) -> str | None:
        """The id that runs."""
        return self._current.prompt_id if self._current else None

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _delete(self, prompt_ids: list[str]) -> None:
        self._queue = [item for item in self._queue if item.prompt_id not in prompt_ids]
        heapq.heapify(self._queue)

    def _uploads(self) -> dict[str, bytes]:
        return {
            f"{folder}/{name}" if folder else name: content
            for (kind, folder, name), content in self.files.items()
            if kind == "input"
        }

    async def _work(self) -> None:
        while True:
            await self._when(lambda: bool(self._flags) or bool(self._queue))
            if self._flags:
                self.loaded = self.loaded and "unload_models" not in self._flags
                self._flags.clear()
            if self._queue:
                self._current = heapq.heappop(self._queue)
                self._interrupt = False
                await self._execute(self._current)
                done, self._current = self._current, None
                self._held = self._held or done.prompt_id == self._hold_after
                # As in ComfyUI, no node at all is the last word, and comes when the history has the prompt.
                last = {"node": None, "prompt_id": done.prompt_id}
                await self._tell(done.extra["client_id"], "executing", last)
            await self._notify()

    async def _when(self, condition: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    async def _execute(self, item: Item) -> None:
        self.executed.append(item.prompt_id)
        await self._notify()
        messages: list[Json] = []
        outputs: dict[str, Json] = {}

        async def tell(event: str, data: Json, *, everyone: bool = False) -> None:
            data = {"prompt_id": item.prompt_id, **data}
            if event.startswith("execution_"):
                data["timestamp"] = int(time.time() * 1000)
                messages.append([event, data])
            await self._tell(None if everyone else item.extra["client_id"], event, data)

        await tell("execution_start", {})
        await tell("execution_cached", {"nodes": []})
        node_id = ""
        try:
            for node_id in _order(item):
                await self._run_node(item, node_id, outputs, tell)
            await tell("execution_success", {})
            status = "success"
        except _InterruptedError:
            status = "error"
            await tell("execution_interrupted", _node_data(item, node_id), everyone=True)
        except _NodeError as failure:
            status = "error"
            details = {
                "exception_type": failure.kind,
                "exception_message": str(failure),
                "traceback": [],
                "executed": [],
            }
            await tell("execution_error", {**_node_data(item, node_id), **details})
        # As in ComfyUI, the end is announced before the history has it.
        done = {"status_str": status, "completed": status == "success", "messages": messages}
        self.history[item.prompt_id] = {"prompt": item.listed(), "outputs": outputs, "status": done, "meta": {}}

    async def _run_node(self, item: Item, node_id: str, outputs: Json, tell: Callable[..., Awaitable[None]]) -> None:
        node = item.prompt[node_id]
        await tell("executing", {"node": node_id, "display_node": node_id})
        if self.faults.node_error and self.faults.node_error[0] == node["class_type"]:
            raise _NodeError(*self.faults.node_error[1:])
        self.loaded = self.loaded or node["class_type"] == "CheckpointLoaderSimple"
        if node["class_type"] == "KSampler":
            await self._sample(item, node_id, tell)
        else:
            await self._pause()
        output = self._save(item, node_id)
        if output:
            outputs[node_id] = output
            await tell("executed", {"node": node_id, "display_node": node_id, "output": output})

    async def _sample(self, item: Item, node_id: str, tell: Callable[..., Awaitable[None]]) -> None:
        steps = item.prompt[node_id]["inputs"]["steps"]
        for step in range(1, steps + 1):
            await self._pause()
            if self._seconds_per_image:
                await asyncio.sleep(self._seconds_per_image / steps)
            state = {"value": step, "max": steps, "state": "running", "node_id": node_id, "prompt_id": item.prompt_id}
            await tell("progress", {"value": step, "max": steps, "node": node_id})
            await tell("progress_state", {"nodes": {node_id: state}})
            await self._show(item, node_id, picture_of(item.prompt, node_id, self._uploads()))

    async def _pause(self) -> None:
        await self._when(lambda: not self._held or (self._interrupt and not self.faults.deaf))
        if self._interrupt and not self.faults.deaf:
            raise _InterruptedError

    def _save(self, item: Item, node_id: str) -> Json:
        node = item.prompt[node_id]
        kind = NODES[node["class_type"]].get("saves")
        if kind == "text":
            return {"text": [node["inputs"]["text"]]}
        if kind is None:
            return None
        self._counter += 1
        folder, _, prefix = node["inputs"].get("filename_prefix", "preview").rpartition("/")
        name = f"{prefix}_{self._counter:05}_.png"
        self.files[kind, folder, name] = picture_of(item.prompt, node_id, self._uploads())
        return {"images": [{"filename": name, "subfolder": folder, "type": kind}]}


def _order(item: Item) -> list[str]:
    return list(dict.fromkeys(node_id for output in item.outputs for node_id in upstream(item.prompt, output)))


def _node_data(item: Item, node_id: str) -> Json:
    return {"node_id": node_id, "node_type": item.prompt[node_id]["class_type"]}
