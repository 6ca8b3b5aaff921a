"""The part of the ComfyUI double that works: one queue, one worker, a cache, history and files in memory.

Stands for `PromptQueue`, `PromptExecutor` and `ProgressRegistry` of ComfyUI; what was read and what was checked is in
`doubles.comfyui`. Nodes take no time but the pace that a test sets with `hold`, `proceed` and the seconds it was made
with. Interrupts are seen between two nodes and between two steps of a sampler, as there.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from doubles.comfyui_nodes import NODES, is_link, picture_of, upstream

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
    """Interrupts do nothing: the running node is one long call that does not look for them."""
    refuse_sockets: bool = False
    break_downloads: int = 0
    """So many downloads break off half-way."""
    lose_files: bool = False
    """`/view` knows none of the outputs."""
    lacks: frozenset[str] = frozenset()
    """Node classes and model files that are not installed on this instance."""
    silent: bool = False
    """Every request but a WebSocket waits for ever."""
    latency_s: float = 0
    """Every request is looked at this much later: the instance is far away, or its process pauses."""


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

    def __init__(self, *, seconds_per_image: float, seconds_per_node: float = 0) -> None:
        self.faults = Faults()
        self.files: dict[tuple[str, str, str], bytes] = {}
        """Content by (type, subfolder, filename); survives a restart."""
        self.executed: list[str] = []
        """Ids of all prompts whose execution began."""
        self._seconds_per_image = seconds_per_image
        self._seconds_per_node = seconds_per_node
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
        self._cache: dict[str, Json] = {}
        """What each node of the last prompt gave out, by what it was made from."""
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
                self.loaded = False  # `free_memory` alone unloads, too
                if "free_memory" in self._flags:
                    self._cache.clear()
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

        signatures = {node_id: self._sign(item.prompt, node_id) for node_id in item.prompt}
        self._cache = {sign: self._cache[sign] for sign in signatures.values() if sign in self._cache}
        await tell("execution_start", {})
        await tell("execution_cached", {"nodes": [node for node, sign in signatures.items() if sign in self._cache]})
        progress = _Progress(item.prompt_id, tell)
        node_id = ""
        try:
            for node_id in _order(item, lambda node: signatures[node] in self._cache):
                await self._run_node(item, node_id, signatures[node_id], outputs, progress)
            await tell("execution_success", {})
            status = "success"
        except _InterruptedError:
            status = "error"
            await tell("execution_interrupted", {**_node_data(item, node_id), "executed": []}, everyone=True)
        except _NodeError as failure:
            status = "error"
            details = {
                "exception_type": failure.kind,
                "exception_message": f"{failure}\n",
                "traceback": [],
                "executed": [],
            }
            await tell("execution_error", {**_node_data(item, node_id), **details})
        # As in ComfyUI, the end is announced before the history has it.
        done = {"status_str": status, "completed": status == "success", "messages": messages}
        self.history[item.prompt_id] = {"prompt": item.listed(), "outputs": outputs, "status": done, "meta": {}}

    def _sign(self, prompt: Json, node_id: str) -> str:
        """Describe everything that a node's result is made from, inputs that it does not know included."""
        parts: list[Json] = []
        for needed in upstream(prompt, node_id):
            node = prompt[needed]
            values = sorted((name, value) for name, value in node["inputs"].items() if not is_link(value))
            links = sorted((name, value) for name, value in node["inputs"].items() if is_link(value))
            file = self._uploads().get(node["inputs"].get("image", "")) if node["class_type"] == "LoadImage" else b""
            parts.append((node["class_type"], values, links, file))
        return repr(parts)

    async def _run_node(self, item: Item, node_id: str, signature: str, outputs: Json, progress: _Progress) -> None:
        """As there: `progress_state` says that a node runs before `executing` names it; cached ones are not started."""
        node = item.prompt[node_id]
        if signature in self._cache:
            output = self._cache[signature]
            await progress.tell("executed", {"node": node_id, "display_node": node_id, "output": output})
            await progress.set(node_id, "finished")
        else:
            await progress.set(node_id, "running", 0.0, 1.0)
            await progress.tell("executing", {"node": node_id, "display_node": node_id})
            if self.faults.node_error and self.faults.node_error[0] == node["class_type"]:
                raise _NodeError(*self.faults.node_error[1:])
            self.loaded = self.loaded or node["class_type"] == "CheckpointLoaderSimple"
            if node["class_type"] == "KSampler":
                await self._sample(item, node_id, progress)
            else:
                await self._pause()
                await asyncio.sleep(self._seconds_per_node)
            output = self._save(item, node_id)
            if output:
                await progress.tell("executed", {"node": node_id, "display_node": node_id, "output": output})
            self._cache[signature] = output
            await progress.set(node_id, "finished")
        if output:
            outputs[node_id] = output

    async def _sample(self, item: Item, node_id: str, progress: _Progress) -> None:
        steps = int(item.prompt[node_id]["inputs"]["steps"])
        for step in range(1, steps + 1):
            await self._pause()
            if self._seconds_per_image:
                await asyncio.sleep(self._seconds_per_image / steps)
            await progress.set(node_id, "running", step, steps)
            await self._show(item, node_id, picture_of(item.prompt, node_id, self._uploads()))
            await progress.tell("progress", {"value": step, "max": steps, "node": node_id})

    async def _pause(self) -> None:
        await self._when(lambda: not self._held or (self._interrupt and not self.faults.deaf))
        if self._interrupt and not self.faults.deaf:
            raise _InterruptedError

    def _save(self, item: Item, node_id: str) -> Json:
        node = item.prompt[node_id]
        kind = NODES[node["class_type"]].get("saves")
        match kind:
            case None:
                return None
            case "text":
                source = node["inputs"].get("text", node["inputs"].get("source"))
                return {"text": [source if isinstance(source, str) else repr(source)]}
            case "result":  # a path in one of its folders, a camera and a background
                return {"result": [node["inputs"]["model_file"], None, None]}
            case _:
                return self._save_file(item, node_id, kind)

    def _save_file(self, item: Item, node_id: str, kind: str) -> Json:
        self._counter += 1
        inputs = item.prompt[node_id]["inputs"]
        folder, _, prefix = inputs.get("filename_prefix", "ComfyUI_temp_abcde").rpartition("/")
        key, place, ending, content = _FILES[kind]
        name = f"{prefix}_{self._counter:05}_.{ending}"
        self.files[place, folder, name] = content or picture_of(item.prompt, node_id, self._uploads())
        file: dict[str, Json] = {"filename": name, "subfolder": folder, "type": place}
        if kind == "gifs":
            file |= {"format": "image/gif", "frame_rate": 8.0, "fullpath": f"/home/comfy/output/{folder}/{name}"}
        return {key: [file], "animated": [True]} if kind == "animated" else {key: [file]}


_FILES: dict[str, tuple[str, str, str, bytes]] = {
    "images": ("images", "output", "png", b""),
    "previews": ("images", "temp", "png", b""),
    "animated": ("images", "output", "png", b""),
    "latents": ("latents", "output", "latent", b"\x08\0\0\0\0\0\0\0{}      "),
    "audio": ("audio", "output", "flac", b"fLaC\0\0\0\x22"),
    "gifs": ("gifs", "output", "gif", b"GIF89a"),
}
"""By what a node saves: the name of its list, the folder, the ending, and the content where it is not a picture."""


class _Progress:
    """What each node of a prompt was last said to do; every word repeats all of them."""

    def __init__(self, prompt_id: str, tell: Callable[..., Awaitable[None]]) -> None:
        self.tell = tell
        self._prompt_id = prompt_id
        self._nodes: dict[str, Json] = {}

    async def set(self, node_id: str, state: str, value: float = 1.0, maximum: float = 1.0) -> None:
        if state == "finished" and node_id in self._nodes:
            value = maximum = self._nodes[node_id]["max"]
        self._nodes[node_id] = {
            "value": value,
            "max": maximum,
            "state": state,
            "node_id": node_id,
            "prompt_id": self._prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
        await self.tell("progress_state", {"nodes": dict(self._nodes)})


def _order(item: Item, is_cached: Callable[[str], bool]) -> list[str]:
    """List the nodes to look at: what a cached one needs is not looked at."""
    order: dict[str, None] = {}
    for output in item.outputs:
        needed = upstream(item.prompt, output, stop=is_cached)
        order |= dict.fromkeys(needed)
    return list(order)


def _node_data(item: Item, node_id: str) -> Json:
    return {"node_id": node_id, "node_type": item.prompt[node_id]["class_type"]}
